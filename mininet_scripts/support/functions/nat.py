"""Source NAT of nftables, with ports that it forwards inward."""

from __future__ import annotations

from collections.abc import Mapping

from mininet.node import Node

from mininet_scripts.support.functions.router import Router

_TABLE = "vfswitch_nat"
_RULES = """table ip %(table)s {
    chain arrive {
        type nat hook prerouting priority dstnat;
        %(forwards)s
    }
    chain leave {
        type nat hook postrouting priority srcnat;
        oifname %(outside)s meta l4proto { tcp, udp } snat to %(address)s%(ports)s
        oifname %(outside)s snat to %(address)s
    }
}"""


class SourceNat(Router):
    """A router that sends what leaves at one interface from that interface's address (RFC 3022, NAPT)."""

    def __init__(
        self,
        node: Node,
        addresses: Mapping[str, str],
        *,
        outside: str,
        ports: range | None = None,
        forwards: Mapping[int, str] | None = None,
    ) -> None:
        """Prepare a NAT toward the interface `outside`, which gives TCP and UDP source ports of a range.

        Without a range a connection keeps its port where nobody else has it.
        What comes to the outside address at a TCP or UDP port of `forwards` goes to the address that this names.
        """
        super().__init__(node, addresses)
        span = "" if ports is None else f":{ports.start}-{ports.stop - 1}"
        address = addresses[outside].partition("/")[0]
        inward = [f"ip daddr {address} meta l4proto {{ tcp, udp }} th dport {port} dnat to {to}"
                  for port, to in (forwards or {}).items()]  # fmt: skip
        self._rules = _RULES % {"table": _TABLE, "outside": outside, "address": address, "ports": span,
                                "forwards": "\n        ".join(inward)}  # fmt: skip

    def set_up(self) -> None:
        """Set the rules, then route."""
        self.do("nft", self._rules, undo=("nft", "delete", "table", "ip", _TABLE))
        super().set_up()

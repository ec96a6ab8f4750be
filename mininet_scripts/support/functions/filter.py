"""A stateful firewall of nftables, on a bridge or on a router."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence

from mininet.node import Node

from mininet_scripts.support import hosts
from mininet_scripts.support.functions.bridge import Bridge
from mininet_scripts.support.functions.function import NetworkFunction
from mininet_scripts.support.functions.router import Router

_TABLE = "vfswitch_filter"
# Established first: what a port number forbids is new connections to it, not the replies that go there.
_RULES = """table inet %s {
    counter refused { }
    chain forward {
        type filter hook forward priority filter; policy accept;
        ct state established,related accept
        ct state invalid counter name refused drop
        meta l4proto { tcp, udp } th dport { %s } counter name refused drop
    }
}"""


class _Filter:
    """The firewall's rules in the namespace of a function that forwards."""

    def __init__(self, function: NetworkFunction, closed_ports: Collection[int]) -> None:
        self._node = function.node
        self._rules = _RULES % (_TABLE, ", ".join(map(str, sorted(closed_ports))))
        self._function = function

    def set_up(self) -> None:
        self._function.do("nft", self._rules, undo=("nft", "delete", "table", "inet", _TABLE))

    def dropped_pkts(self) -> int:
        said = json.loads(hosts.run(self._node, "nft", "-j", "list", "counter", "inet", _TABLE, "refused"))
        return next(int(item["counter"]["packets"]) for item in said["nftables"] if "counter" in item)


class FilteringBridge(Bridge):
    """A transparent bridge that lets no new TCP or UDP connection to its closed ports pass, and all else."""

    def __init__(self, node: Node, closed_ports: Collection[int], interfaces: Sequence[str] = ()) -> None:
        super().__init__(node, interfaces)
        self._filter = _Filter(self, closed_ports)

    def set_up(self) -> None:
        """Make the bridge, have it show IP packets to the firewall, and set the rules."""
        # Rules of the bridge family cannot say `ct state` where the kernel is built without NF_CONNTRACK_BRIDGE;
        # br_netfilter hands what is bridged to the rules and the connection tracking of IP instead.
        for version in ("iptables", "ip6tables"):
            setting = f"net.bridge.bridge-nf-call-{version}"
            found = hosts.run(self.node, "sysctl", "-n", setting).strip()
            self.do("sysctl", "-qw", f"{setting}=1", undo=("sysctl", "-qw", f"{setting}={found}"))
        self._filter.set_up()
        super().set_up()

    def dropped_pkts(self) -> int:
        """Return how many packets the firewall has dropped since it started."""
        return self._filter.dropped_pkts()


class FilteringRouter(Router):
    """A router that lets no new TCP or UDP connection to its closed ports pass, and all else."""

    def __init__(self, node: Node, addresses: Mapping[str, str], closed_ports: Collection[int]) -> None:
        super().__init__(node, addresses)
        self._filter = _Filter(self, closed_ports)

    def set_up(self) -> None:
        """Set the rules, then route."""
        self._filter.set_up()
        super().set_up()

    def dropped_pkts(self) -> int:
        """Return how many packets the firewall has dropped since it started."""
        return self._filter.dropped_pkts()

"""How the match of a cached entry is laid out: what stands before each value that differs from flow to flow."""

from __future__ import annotations

from typing import Final, NamedTuple

from ryu_apps.model.flow_key import ETH_IPV4, ETH_IPV6, PROTO_ICMP, PROTO_ICMPV6, Family
from ryu_apps.pipeline.editing import PORT_FIELDS
from ryu_apps.southbound.wire import oxm

_UNTAGGED: Final = oxm("vlan_vid") + b"\0\0"


class Layout(NamedTuple):
    """The part of a match between the MACs and the registers, for one family and protocol.

    Four values may differ: two addresses (or the ethertype) and two transport fields; absent ones have width 0.
    before holds the constant bytes in front of each, in_key what a struct needs to part a key into MACs and values.
    """

    widths: tuple[int, int, int, int]
    before: tuple[bytes, bytes, bytes, bytes]
    in_key: str


def layout(family: int, proto: int, dscp: int | None) -> Layout:
    """Return the layout of keys of the LINK, IPV4 or IPV6 family; dscp is None where the entry leaves it open."""
    if family == Family.LINK:
        return Layout((2, 0, 0, 0), (oxm("eth_type"), _UNTAGGED, b"", b""), "6s6s2x2s0s0s0s")
    version, eth_type, width = ("ipv4", ETH_IPV4, 4) if family == Family.IPV4 else ("ipv6", ETH_IPV6, 16)
    source = oxm("eth_type") + eth_type.to_bytes(2, "big") + _UNTAGGED + oxm(f"{version}_src")
    destination = oxm(f"{version}_dst")
    after = (oxm("ip_dscp") + bytes((dscp,)) if dscp is not None else b"") + oxm("ip_proto") + bytes((proto,))
    in_key = f"6s6s2x2x2x{width}s{width}s"
    if proto in PORT_FIELDS:
        first, second = PORT_FIELDS[proto]
        return Layout((width, width, 2, 2), (source, destination, after + oxm(first), oxm(second)), in_key + "2s2s")
    if proto == (PROTO_ICMP if version == "ipv4" else PROTO_ICMPV6):
        first, second = ("icmpv4_type", "icmpv4_code") if version == "ipv4" else ("icmpv6_type", "icmpv6_code")
        return Layout((width, width, 1, 1), (source, destination, after + oxm(first), oxm(second)), in_key + "xsxs")
    return Layout((width, width, 0, 0), (source, destination, after, b""), in_key + "0s0s4x")


def match_format(layout: Layout) -> str:
    """Return what a struct needs for a whole match: constants and values in turn, MACs first, registers last."""
    values = "".join(f"{len(before)}s{width}s" for before, width in zip(layout.before, layout.widths, strict=True))
    return f"4s6s4s6s{values}4sI4sI"

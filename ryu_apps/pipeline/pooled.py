"""How what comes for an address of a NAT pool finds the VM that has borrowed it.

The outside knows a pool by one MAC, so that the MAC does not tell the VM.
Table `deliver` hands such packets to table `pooled`, where each connection has an entry that names its vport.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, summarize_address_range
from typing import Final

from ryu_apps.model.flow_key import PROTO_ICMP, PROTO_ICMPV6, FlowKey
from ryu_apps.model.nat_pool import AddressRange, NatPool
from ryu_apps.model.network import Vport
from ryu_apps.model.rules import Direction
from ryu_apps.pipeline.cached import match_of
from ryu_apps.pipeline.cookie import Cookie, EntryClass, Punt, Refusal
from ryu_apps.pipeline.entry import FlowEntry, MatchValue, SetField, ToController, entry
from ryu_apps.pipeline.meters import shut
from ryu_apps.pipeline.registers import PUNT, RECEIVER, SEGMENT, SENDER

# What tells of other packets is looked at by the host, which knows whose they are (RFC 792, RFC 4443 section 3).
_ERRORS: Final = ((0x0800, PROTO_ICMP, "icmpv4", (3, 4, 11, 12)), (0x86DD, PROTO_ICMPV6, "icmpv6", (1, 2, 3, 4)))
_LATER_FRAGMENT: Final[MatchValue] = (2, 2)
_PUNT: Final = Cookie(EntryClass.PUNT, detail=Punt.POOL).pack()
_BASE: Final = Cookie(EntryClass.BASE).pack()
_ASK_ABOVE_ALL: Final = 140
_ERROR, _LEAD, _FRAGMENT, _NOT_LENT = 120, 100, 50, 10


def pool_entries(pool: NatPool, segment: int) -> Iterator[FlowEntry]:
    """Yield what stands at a pool's host: the way to its table, and what the controller is asked about."""
    for part in pool.addresses:
        for asked in _asking(part):
            yield _ask("deliver", _ASK_ABOVE_ALL, {SEGMENT: segment, **asked})
    ours: dict[str, MatchValue] = {SEGMENT: segment, "eth_dst": pool.mac}
    yield entry("deliver", 100, ours, goto="pooled", cookie=_BASE)
    for eth_type, proto, name, kinds in _ERRORS:
        of_version: dict[str, MatchValue] = {**ours, "eth_type": eth_type}
        for kind in kinds:
            error = {**of_version, "ip_proto": proto, f"{name}_type": kind}
            yield _ask("pooled", _ERROR, error)
        yield _ask("pooled", _FRAGMENT, {**of_version, "ip_frag": _LATER_FRAGMENT})
    refused = Cookie(EntryClass.GUARD, detail=Refusal.NOT_LENT).pack()
    yield entry("pooled", _NOT_LENT, ours, cookie=refused)


def _ask(table: str, priority: int, match: dict[str, MatchValue]) -> FlowEntry:
    return entry(table, priority, match, SetField(PUNT, Punt.POOL), goto="missed", cookie=_PUNT)


def asks_of_network(meter: int) -> Iterator[FlowEntry]:
    """Yield what sends to the controller what the network asks of pools, within a meter, 0 for none.

    What vports ask has their meters.
    """
    yield entry("missed", 100, {PUNT: Punt.POOL, SENDER: 0, RECEIVER: 0}, ToController(meter), cookie=_PUNT)


def _asking(part: AddressRange) -> Iterator[dict[str, MatchValue]]:
    """Yield the matches of ARP requests and neighbour solicitations for the addresses of a range."""
    address = IPv4Address if part.version == 4 else IPv6Address
    for prefix in summarize_address_range(address(part.first), address(part.last)):
        target: MatchValue = int(prefix.network_address), int(prefix.netmask)
        if prefix.num_addresses == 1:
            target = int(prefix.network_address)
        if part.version == 4:
            yield {"eth_type": 0x0806, "arp_op": 1, "arp_tpa": target}
        else:
            yield {"eth_type": 0x86DD, "ip_proto": PROTO_ICMPV6, "icmpv6_type": 135, "ipv6_nd_target": target}


def lead_entry(segment: int, vport: Vport, flow_id: int, reply: FlowKey) -> FlowEntry:
    """Return the entry that brings replies with this key, as they come from the outside, to a vport.

    Where the vport has no bandwidth they are dropped.
    """
    match = match_of(reply, exact_dscp=False)
    # The way back may be by another router than the way there.
    del match["eth_src"]
    match[SEGMENT] = segment
    cookie = Cookie(EntryClass.LEAD, vport=vport.number, detail=flow_id).pack()
    if shut(vport, Direction.INBOUND):
        return entry("pooled", _LEAD, match, cookie=cookie)
    return entry("pooled", _LEAD, match, SetField(RECEIVER, vport.number), goto="arrival", cookie=cookie)

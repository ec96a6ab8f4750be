"""The standing entries of one host's NIC: everything but the caches of verdicts.

They are compiled in pieces, each from a few values and nothing else,
so that a change costs what it changes: a piece whose values are as they were is not compiled again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Final, NamedTuple

from ryu_apps.engine.policy import Policy
from ryu_apps.engine.ways import bypassed
from ryu_apps.model.network import Host, Segment, Vport
from ryu_apps.model.rules import Direction
from ryu_apps.pipeline.asking import MULTICAST, asks_of, closing, counters, misses, neighbours, punts
from ryu_apps.pipeline.beside import meter_entries, mirror_entry, rule_meters
from ryu_apps.pipeline.bottlenecks import bottlenecks, priorities, rank_entries, said_entries, share_entries
from ryu_apps.pipeline.cookie import Cookie, EntryClass, Refusal
from ryu_apps.pipeline.egress import egress_segment, egress_vport, leave_as_vf
from ryu_apps.pipeline.entry import (
    MOST_PORT_NO,
    EntryAction,
    FlowEntry,
    MatchValue,
    PopVlan,
    PriorityFromTag,
    Resubmit,
    SetField,
    entry,
)
from ryu_apps.pipeline.from_outside import from_uplink, past_guard, reflected
from ryu_apps.pipeline.guard import guard
from ryu_apps.pipeline.hairpin import closed_chains, hairpin_parts
from ryu_apps.pipeline.meters import miss_meter_numbers, miss_meters, network_meter, outbound_meter, shut
from ryu_apps.pipeline.pieces import NO_PIECES, Piece, PieceKey, Pieces, entries_of
from ryu_apps.pipeline.pooled import asks_of_network, pool_entries
from ryu_apps.pipeline.registers import EXIT, EXIT_AS_SEGMENT, EXIT_AS_VF, RECEIVER, SEGMENT, SENDER, VIA
from ryu_apps.pipeline.synthetic import Second, at_both_ports, second_entries, second_port
from ryu_apps.pipeline.tunnel import tunnel_entries

_PRESENT: Final = 0x1000
_BASE: Final = Cookie(EntryClass.BASE).pack()


class Wire(NamedTuple):
    """How a host reaches others: number of its uplink, whether frames come from elsewhere, and say a priority."""

    uplink: int | None
    outside: bool
    ranked: bool


class Place(Enum):
    """Where the owner of a MAC is, as seen from one host."""

    HERE = "at a port of this host"
    ABSENT = "at a port that this host's switch does not have"
    ELSEWHERE = "at another host"


def base_entries(policy: Policy, host: Host, ports: Mapping[str, int]) -> tuple[FlowEntry, ...]:
    """Return the standing entries of a host whose datapath has these ports (name to number).

    A vport whose port is not there has no entries: its packets are dropped until the port appears.
    """
    return tuple(entries_of(base_pieces(policy, host, ports)))


def base_pieces(policy: Policy, host: Host, ports: Mapping[str, int], known: Pieces = NO_PIECES) -> Pieces:
    """Return the standing entries of a host in pieces; those of `known` made from the same values are taken over."""
    snapshot = policy.snapshot
    uplink = ports.get(host.uplink) if host.uplink else None
    # At the switch's own port is the host itself, no VF; a vport put while the switch was away may name it.
    usable = {name: port_no for name, port_no in ports.items() if port_no <= MOST_PORT_NO}
    made: dict[PieceKey, Piece] = {}

    def add(make: Callable[..., Iterator[FlowEntry]], key: object, *values: object) -> None:
        found = known.get((make, key))
        # Values that have not changed are nearly always the same objects, which compare at once.
        made[make, key] = found if found is not None and found.values == values else Piece(values, tuple(make(*values)))

    tunnel = ports.get(host.tunnel) if host.tunnel else None
    outside = uplink is not None or tunnel is not None
    limited = miss_meters(policy, host)
    ranks = priorities(policy)
    # Where all packets have one priority, tags say none.
    ranked = len(ranks) > 1
    wire = Wire(uplink, outside, ranked)
    narrows = bottlenecks(policy, host)
    # The two tables of priorities cost look-ups, so packets pass them by where nothing would come of it.
    add(_fixed, None, "rank" if ranked or narrows else "egress")
    if outside:
        add(past_guard, None)
    here: dict[str, Vport] = {}
    for vport in snapshot.vports.values():
        segments = tuple([snapshot.segments[name] for name in vport.segments])
        if vport.host == host.id and vport.port in usable:
            here[vport.id] = vport
            asks = _asks(policy, vport)
            metered = tuple([number if number in limited else 0 for number in miss_meter_numbers(vport)])
            second = second_port(vport, host, usable)
            add(_local_vport, vport.number, vport, usable[vport.port], wire, segments, asks, metered, second)
        if uplink is not None and vport.segment is not None:
            add(_tag, vport.vlan, uplink, vport.vlan, segments[0].number, ranked)
    add(meter_entries, None, rule_meters(policy, host))
    add(said_entries, None, ranks)
    for narrow in narrows:
        add(share_entries, narrow.receiver, narrow)
    if host.hairpin is not None:
        for make, key, values in hairpin_parts(policy, host.hairpin, ports, here.values()):
            add(make, key, *values)
        for segment in bypassed(policy, host):
            members = [vport for vport in policy.directory.residents(segment.id, host.id) if vport.id in here]
            add(_flood, segment.number, segment, tuple([vport.number for vport in members]), None)
            add(closed_chains, segment.number, segment.number, policy.snapshot.closed_marks(segment.id))
            for mac, owner in policy.directory.of_segment(segment.id):
                if owner is not None and owner.id in here:
                    add(_owner, (segment.number, mac), segment.number, mac, owner, Place.HERE)
        return made
    for segment in snapshot.segments.values():
        add(_segment, segment.number, segment, uplink, ranked)
        if uplink is not None and segment.vlan is not None:
            add(_tag, segment.vlan, uplink, segment.vlan, segment.number, ranked)
        residents = policy.directory.residents(segment.id, host.id)
        numbers = tuple([vport.number for vport in residents if vport.id in here])
        add(_flood, segment.number, segment, numbers, uplink)
        for mac, owner in policy.directory.of_segment(segment.id):
            if owner is not None:
                place = Place.HERE if owner.id in here else _place_away(owner, host)
                add(_owner, (segment.number, mac), segment.number, mac, owner, place)
    if uplink is not None:
        add(from_uplink, uplink, uplink)
    if host.tunnel is not None:
        vnis = [(segment.number, segment.vni) for segment in snapshot.segments.values() if segment.vni is not None]
        add(tunnel_entries, host.tunnel, tunnel, tuple(vnis))
    for pool in snapshot.nat_pools.values():
        if pool.host == host.id and uplink is not None:
            add(pool_entries, pool.id, pool, snapshot.segments[pool.segment].number)
            add(asks_of_network, None, network_meter(host) if network_meter(host) in limited else 0)
    return made


def _place_away(owner: Vport, host: Host) -> Place:
    return Place.ABSENT if owner.host == host.id else Place.ELSEWHERE


def _asks(policy: Policy, vport: Vport) -> tuple[bool, bool, bool, bool]:
    """Return whether rules name ARP and ND, outbound and then inbound."""
    out, into = policy.view(vport, Direction.OUTBOUND), policy.view(vport, Direction.INBOUND)
    return out.asks_arp, out.asks_nd, into.asks_arp, into.asks_nd


def _fixed(behind: str) -> Iterator[FlowEntry]:
    """Yield what every host has; behind is the table that follows where packets have been looked at for closing."""
    yield from misses(behind)
    yield from punts()
    yield from closing(behind)


def _local_vport(
    vport: Vport,
    port_no: int,
    wire: Wire,
    segments: tuple[Segment, ...],
    asks: tuple[bool, bool, bool, bool],
    miss_meters: tuple[int, int],
    second: Second | None,
) -> Iterator[FlowEntry]:
    """Yield what a vport at a port of this host has."""
    yield from at_both_ports(_classify_vport(vport, port_no, segments), port_no, second)
    yield from guard(vport)
    yield from neighbours(vport, asks)
    yield from counters(vport)
    yield from asks_of(vport, miss_meters)
    if second is not None:
        yield from second_entries(vport, second, segments)
    yield from rank_entries(vport)
    yield from egress_vport(vport, port_no, segments)
    if wire.uplink is not None:
        yield from leave_as_vf(vport, wire.uplink, segments, wire.ranked)
    yield from _deliver_via(vport, segments)
    yield mirror_entry(vport, port_no)
    if wire.outside:
        yield from reflected(vport, segments)


def _classify_vport(vport: Vport, port_no: int, segments: tuple[Segment, ...]) -> Iterator[FlowEntry]:
    cookie = Cookie(EntryClass.BASE, vport=vport.number).pack()
    for segment in segments:
        tagged = vport.segment is None
        match: dict[str, MatchValue] = {
            "in_port": port_no,
            "vlan_vid": _PRESENT | segment.vlan if tagged and segment.vlan else 0,
        }
        actions: tuple[EntryAction, ...] = (SetField(SEGMENT, segment.number), SetField(SENDER, vport.number))
        if shut(vport, Direction.OUTBOUND):
            yield _shut_off(vport, "classify", 100, match)
            continue
        if tagged:
            actions = (PopVlan(), *actions)
        meter = outbound_meter(vport)
        yield entry("classify", 100, match, *actions, goto="guard", cookie=cookie, meter=meter)
    refused = Cookie(EntryClass.GUARD, vport=vport.number, detail=Refusal.VLAN).pack()
    yield entry("classify", 90, {"in_port": port_no}, cookie=refused)


def _shut_off(vport: Vport, table: str, priority: int, match: dict[str, MatchValue]) -> FlowEntry:
    """Return what stands for an entry of a vport that has no bandwidth.

    Its priority is its own, because an entry that replaces another takes over what that has counted.
    """
    cookie = Cookie(EntryClass.GUARD, vport=vport.number, detail=Refusal.BANDWIDTH).pack()
    return entry(table, priority - 1, match, cookie=cookie)


def _tag(uplink: int, vlan: int, segment: int, ranked: bool) -> Iterator[FlowEntry]:
    """Yield how frames from the network find their segment: by a VF's VLAN, the segment's own, or none."""
    match: dict[str, MatchValue] = {"in_port": uplink, "vlan_vid": _PRESENT | vlan if vlan else 0}
    pop: tuple[EntryAction, ...] = (PopVlan(),) if vlan else ()
    if vlan and ranked:
        pop = (PriorityFromTag(), *pop)
    yield entry("classify", 100, match, *pop, SetField(SEGMENT, segment), goto="guard", cookie=_BASE)


def _owner(segment: int, mac: int, owner: Vport, place: Place) -> Iterator[FlowEntry]:
    """Yield where frames for the MAC of a vport go."""
    match: dict[str, MatchValue] = {SEGMENT: segment, "eth_dst": mac}
    match place:
        case Place.HERE:
            yield _deliver_to(owner, 100, match, _BASE)
            # What a VM sends to itself is not asked about at its inbound cache: no port sends back what it received.
            yield entry("deliver", 110, {**match, SENDER: owner.number}, cookie=_BASE)
        case Place.ABSENT:
            yield entry("deliver", 100, match, cookie=_BASE)
        case Place.ELSEWHERE:
            yield entry("deliver", 80, match, SetField(EXIT, EXIT_AS_VF), goto="closing", cookie=_BASE)


def _segment(segment: Segment, uplink: int | None, ranked: bool) -> Iterator[FlowEntry]:
    """Yield what becomes of frames of a segment for a MAC that nobody here has."""
    not_local = Cookie(EntryClass.GUARD, detail=Refusal.NOT_LOCAL).pack()
    from_uplink: dict[str, MatchValue] = {SEGMENT: segment.number, SENDER: 0}
    yield entry("deliver", 90, from_uplink, cookie=not_local)
    outside = SetField(EXIT, _exit_outside(segment))
    yield entry("deliver", 10, {SEGMENT: segment.number}, outside, goto="closing", cookie=_BASE)
    if uplink is not None and segment.vlan is not None:
        yield egress_segment(segment, uplink, ranked)


def _deliver_to(vport: Vport, priority: int, match: dict[str, MatchValue], cookie: int) -> FlowEntry:
    """Return the entry that gives packets to a vport on this host, unless nothing may pass to it."""
    if shut(vport, Direction.INBOUND):
        return _shut_off(vport, "deliver", priority, match)
    return entry("deliver", priority, match, SetField(RECEIVER, vport.number), goto="arrival", cookie=cookie)


def _deliver_via(vport: Vport, segments: tuple[Segment, ...]) -> Iterator[FlowEntry]:
    """Yield delivery of what a rule sends to a vport, in the segments that it is a member of; others are dropped."""
    cookie = Cookie(EntryClass.BASE, vport=vport.number).pack()
    for segment in segments:
        match: dict[str, MatchValue] = {VIA: vport.number, SEGMENT: segment.number}
        yield _deliver_to(vport, 130, match, cookie)
    yield entry("deliver", 120, {VIA: vport.number}, cookie=cookie)


def _exit_outside(segment: Segment) -> int:
    """Return how frames of a segment leave for the outside."""
    return EXIT_AS_VF if segment.vlan is None else EXIT_AS_SEGMENT


def _flood(segment: Segment, members: tuple[int, ...], uplink: int | None) -> Iterator[FlowEntry]:
    """Yield delivery to all members of a segment; what came by the uplink does not go back there."""
    actions: list[EntryAction] = []
    for number in members:
        actions += [SetField(RECEIVER, number), Resubmit("arrival")]
    match: dict[str, MatchValue] = {SEGMENT: segment.number, "eth_dst": MULTICAST}
    yield entry("deliver", 96, {**match, SENDER: 0}, *actions, cookie=_BASE)
    if uplink is not None:
        # One copy reaches everybody: other hosts know a segment's own VLAN as well as those of its VFs.
        actions += [SetField(RECEIVER, 0), SetField(EXIT, _exit_outside(segment)), Resubmit("closing")]
    yield entry("deliver", 95, match, *actions, cookie=_BASE)

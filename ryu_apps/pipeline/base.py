"""The standing entries of one host's NIC: everything but the caches of verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from ryu_apps.engine.policy import Policy
from ryu_apps.model.flow_key import ND_TYPES
from ryu_apps.model.network import Host, Segment, Vport
from ryu_apps.model.rules import Direction
from ryu_apps.pipeline.beside import meter_entries, mirror_entries
from ryu_apps.pipeline.cookie import Cookie, EntryClass, Punt, Refusal
from ryu_apps.pipeline.entry import (
    MISS_PRIORITY,
    EntryAction,
    FlowEntry,
    MatchValue,
    Output,
    PopVlan,
    PushVlan,
    Resubmit,
    SetField,
    ToController,
    entry,
)
from ryu_apps.pipeline.guard import guard
from ryu_apps.pipeline.meters import bandwidth_meter, shut
from ryu_apps.pipeline.registers import EXIT, EXIT_AS_SEGMENT, EXIT_AS_VF, RECEIVER, SEGMENT, SENDER, VIA
from ryu_apps.pipeline.tables import TABLES, Miss
from ryu_apps.pipeline.tunnel import tunnel_entries

_PRESENT: Final = 0x1000
_MULTICAST: Final[MatchValue] = (1 << 40, 1 << 40)
_BASE: Final = Cookie(EntryClass.BASE).pack()


def base_entries(policy: Policy, host: Host, ports: Mapping[str, int]) -> tuple[FlowEntry, ...]:
    """Return the standing entries of a host whose datapath has these ports (name to number).

    A vport whose port is not there has no entries: its packets are dropped until the port appears.
    """
    snapshot = policy.snapshot
    uplink = ports.get(host.uplink) if host.uplink else None
    local = [v for v in sorted(snapshot.vports.values(), key=_number) if v.host == host.id and v.port in ports]
    made = [*_misses(), *_punts()]
    for vport in local:
        made += _classify_vport(policy, vport, ports[vport.port])
        made += guard(vport)
        made += _neighbours(policy, vport)
        made += _deliver_via(policy, vport)
        made += _egress_vport(policy, vport, ports[vport.port], uplink)
    for segment in snapshot.segments.values():
        made += _deliver_segment(policy, host, segment, local, uplink)
    tunnel = ports.get(host.tunnel) if host.tunnel else None
    if uplink is not None or tunnel is not None:
        made += _guard_outside(policy, local)
    if uplink is not None:
        made += _classify_uplink(policy, uplink)
        made += [_egress_segment(segment, uplink) for segment in snapshot.segments.values() if segment.vlan is not None]
    made += tunnel_entries(policy, host, tunnel)
    made += meter_entries(policy, host)
    made += mirror_entries(local, ports)
    return tuple(made)


def _number(vport: Vport) -> int:
    return vport.number


def _misses() -> Iterator[FlowEntry]:
    for table in TABLES:
        if table.miss is Miss.CONTROLLER:
            yield entry(table.name, MISS_PRIORITY, {}, ToController(), cookie=_punt(Punt.MISS))
        else:
            yield entry(table.name, MISS_PRIORITY, {}, cookie=_BASE)


def _punt(why: Punt) -> int:
    return Cookie(EntryClass.PUNT, detail=why).pack()


def _punts() -> Iterator[FlowEntry]:
    """Yield the entries that keep out of the caches what no exact entry can stand for."""
    for table in ("outbound", "inbound"):
        for eth_type in (0x0800, 0x86DD):
            match: dict[str, MatchValue] = {"eth_type": eth_type, "ip_frag": (1, 1)}
            yield entry(table, 300, match, ToController(), cookie=_punt(Punt.FRAGMENT))
        yield entry(table, 200, {"eth_dst": _MULTICAST}, ToController(), cookie=_punt(Punt.SINGLE))
        for eth_type, ports in ((0x0800, (67, 68)), (0x86DD, (546, 547))):
            for port in ports:
                dhcp: dict[str, MatchValue] = {"eth_type": eth_type, "ip_proto": 17, "udp_dst": port}
                yield entry(table, 200, dhcp, ToController(), cookie=_punt(Punt.SINGLE))


def _neighbours(policy: Policy, vport: Vport) -> Iterator[FlowEntry]:
    """Yield what lets ARP and ND pass the caches: at once, or by way of the controller when a rule names them."""
    kinds: list[tuple[dict[str, MatchValue], str]] = [({"eth_type": 0x0806}, "asks_arp")]
    kinds += [({"eth_type": 0x86DD, "ip_proto": 58, "icmpv6_type": kind}, "asks_nd") for kind in sorted(ND_TYPES)]
    for direction, register, goto in (
        (Direction.OUTBOUND, SENDER, "deliver"),
        (Direction.INBOUND, RECEIVER, "egress"),
    ):
        view = policy.view(vport, direction)
        for match, asks in kinds:
            asked = getattr(view, asks)
            actions = (ToController(),) if asked else ()
            cookie = _punt(Punt.NEIGHBOUR) if asked else Cookie(EntryClass.BASE, vport=vport.number).pack()
            match = {register: vport.number, **match}
            yield entry(direction.value, 250, match, *actions, goto=None if asked else goto, cookie=cookie)


def _classify_vport(policy: Policy, vport: Vport, port_no: int) -> Iterator[FlowEntry]:
    cookie = Cookie(EntryClass.BASE, vport=vport.number).pack()
    for name in vport.segments:
        segment = policy.snapshot.segments[name]
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
        meter = bandwidth_meter(vport, Direction.OUTBOUND)
        yield entry("classify", 100, match, *actions, goto="guard", cookie=cookie, meter=meter)
    refused = Cookie(EntryClass.GUARD, vport=vport.number, detail=Refusal.VLAN).pack()
    yield entry("classify", 90, {"in_port": port_no}, cookie=refused)


def _shut_off(vport: Vport, table: str, priority: int, match: dict[str, MatchValue]) -> FlowEntry:
    """Return what stands for an entry of a vport that has no bandwidth.

    Its priority is its own, because an entry that replaces another takes over what that has counted.
    """
    cookie = Cookie(EntryClass.GUARD, vport=vport.number, detail=Refusal.BANDWIDTH).pack()
    return entry(table, priority - 1, match, cookie=cookie)


def _classify_uplink(policy: Policy, uplink: int) -> Iterator[FlowEntry]:
    """Yield how frames from the network find their segment: by a VF's VLAN, the segment's own, or none."""
    snapshot = policy.snapshot
    tags: dict[int, Segment] = {
        vport.vlan: snapshot.segments[vport.segment] for vport in snapshot.vports.values() if vport.segment is not None
    }
    tags |= {segment.vlan: segment for segment in snapshot.segments.values() if segment.vlan is not None}
    for vlan, segment in tags.items():
        match: dict[str, MatchValue] = {"in_port": uplink, "vlan_vid": _PRESENT | vlan if vlan else 0}
        pop = (PopVlan(),) if vlan else ()
        yield entry("classify", 100, match, *pop, SetField(SEGMENT, segment.number), goto="guard", cookie=_BASE)
    unknown = Cookie(EntryClass.GUARD, detail=Refusal.UNKNOWN_VLAN).pack()
    yield entry("classify", 90, {"in_port": uplink}, cookie=unknown)


def _guard_outside(policy: Policy, local: list[Vport]) -> Iterator[FlowEntry]:
    """Yield the check that the network does not bring our own frames back, and let all others pass."""
    for vport in local:
        cookie = Cookie(EntryClass.GUARD, vport=vport.number, detail=Refusal.REFLECTED).pack()
        for name in vport.segments:
            match: dict[str, MatchValue] = {
                SENDER: 0,
                SEGMENT: policy.snapshot.segments[name].number,
                "eth_src": vport.mac,
            }
            yield entry("guard", 100, match, cookie=cookie)
    yield entry("guard", 90, {SENDER: 0}, goto="deliver", cookie=_BASE)


def _deliver_segment(
    policy: Policy, host: Host, segment: Segment, local: list[Vport], uplink: int | None
) -> Iterator[FlowEntry]:
    here = {vport.id: vport for vport in local}
    for mac, owner in policy.directory.of_segment(segment.id):
        match: dict[str, MatchValue] = {SEGMENT: segment.number, "eth_dst": mac}
        if owner is not None and owner.id in here:
            yield _deliver_to(owner, 100, match, _BASE)
            # What a VM sends to itself is not asked about at its inbound cache: no port sends back what it received.
            yield entry("deliver", 110, {**match, SENDER: owner.number}, cookie=_BASE)
        elif owner is not None and owner.host == host.id:
            yield entry("deliver", 100, match, cookie=_BASE)
        elif owner is not None:
            yield entry("deliver", 80, match, SetField(EXIT, EXIT_AS_VF), goto="egress", cookie=_BASE)
    not_local = Cookie(EntryClass.GUARD, detail=Refusal.NOT_LOCAL).pack()
    from_uplink: dict[str, MatchValue] = {SEGMENT: segment.number, SENDER: 0}
    yield entry("deliver", 90, from_uplink, cookie=not_local)
    outside = SetField(EXIT, _exit_outside(segment))
    yield entry("deliver", 10, {SEGMENT: segment.number}, outside, goto="egress", cookie=_BASE)
    yield from _flood(segment, policy.directory.residents(segment.id, host.id), here, uplink)


def _deliver_to(vport: Vport, priority: int, match: dict[str, MatchValue], cookie: int) -> FlowEntry:
    """Return the entry that gives packets to a vport on this host, within its bandwidth."""
    if shut(vport, Direction.INBOUND):
        return _shut_off(vport, "deliver", priority, match)
    to, meter = SetField(RECEIVER, vport.number), bandwidth_meter(vport, Direction.INBOUND)
    return entry("deliver", priority, match, to, goto="inbound", cookie=cookie, meter=meter)


def _deliver_via(policy: Policy, vport: Vport) -> Iterator[FlowEntry]:
    """Yield delivery of what a rule sends to a vport, in the segments that it is a member of; others are dropped."""
    cookie = Cookie(EntryClass.BASE, vport=vport.number).pack()
    for name in vport.segments:
        match: dict[str, MatchValue] = {VIA: vport.number, SEGMENT: policy.snapshot.segments[name].number}
        yield _deliver_to(vport, 130, match, cookie)
    yield entry("deliver", 120, {VIA: vport.number}, cookie=cookie)


def _exit_outside(segment: Segment) -> int:
    """Return how frames of a segment leave for the outside."""
    return EXIT_AS_VF if segment.vlan is None else EXIT_AS_SEGMENT


def _flood(
    segment: Segment, residents: list[Vport], here: Mapping[str, Vport], uplink: int | None
) -> Iterator[FlowEntry]:
    """Yield delivery to all members of a segment; what came by the uplink does not go back there."""
    actions: list[EntryAction] = []
    for vport in residents:
        if vport.id in here:
            actions += [SetField(RECEIVER, vport.number), Resubmit("inbound")]
    match: dict[str, MatchValue] = {SEGMENT: segment.number, "eth_dst": _MULTICAST}
    yield entry("deliver", 96, {**match, SENDER: 0}, *actions, cookie=_BASE)
    if uplink is not None:
        # One copy reaches everybody: other hosts know a segment's own VLAN as well as those of its VFs.
        actions += [SetField(RECEIVER, 0), SetField(EXIT, _exit_outside(segment)), Resubmit("egress")]
    yield entry("deliver", 95, match, *actions, cookie=_BASE)


def _egress_vport(policy: Policy, vport: Vport, port_no: int, uplink: int | None) -> Iterator[FlowEntry]:
    cookie = Cookie(EntryClass.BASE, vport=vport.number).pack()
    for name in vport.segments:
        segment = policy.snapshot.segments[name]
        tag = (PushVlan(segment.vlan),) if vport.segment is None and segment.vlan else ()
        match: dict[str, MatchValue] = {RECEIVER: vport.number, SEGMENT: segment.number}
        yield entry("egress", 100, match, *tag, Output(port_no), cookie=cookie)
        if uplink is not None:
            # A trunk has no VLAN of its own on the wire: its frames carry the tag of their segment.
            vlan = segment.vlan if vport.segment is None and segment.vlan else vport.vlan
            leave: dict[str, MatchValue] = {
                RECEIVER: 0,
                EXIT: EXIT_AS_VF,
                SENDER: vport.number,
                SEGMENT: segment.number,
            }
            yield entry("egress", 90, leave, PushVlan(vlan), Output(uplink), cookie=cookie)


def _egress_segment(segment: Segment, uplink: int) -> FlowEntry:
    tag = (PushVlan(segment.vlan),) if segment.vlan else ()
    match: dict[str, MatchValue] = {RECEIVER: 0, EXIT: EXIT_AS_SEGMENT, SEGMENT: segment.number}
    return entry("egress", 90, match, *tag, Output(uplink), cookie=_BASE)

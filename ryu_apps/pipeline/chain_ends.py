"""Where the chains of a segment begin and end on one host: at the cable of its VFs, and at the way to the network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple
from zlib import crc32

from ryu_apps.engine.policy import Policy
from ryu_apps.model.chain import Chain, Instance
from ryu_apps.model.flow_key import VLAN_PRESENT
from ryu_apps.model.network import Host, Segment, Vport
from ryu_apps.pipeline.chain import INWARD, OUTWARD, Course, Stand, course_entries, ended, stray_tags
from ryu_apps.pipeline.chain_memory import memory_entries
from ryu_apps.pipeline.cookie import Cookie, EntryClass, Refusal
from ryu_apps.pipeline.entry import (
    EntryAction,
    FlowEntry,
    MatchValue,
    Output,
    PopVlan,
    PushVlan,
    Resubmit,
    SetField,
    entry,
)
from ryu_apps.pipeline.pieces import Part
from ryu_apps.pipeline.probing import feigned, likenesses, tag_of
from ryu_apps.pipeline.registers import CHAIN, POSITION, SEGMENT, SENDER

_BASE: Final = Cookie(EntryClass.BASE).pack()
_MULTICAST: Final[MatchValue] = (1 << 40, 1 << 40)
# Names what entries look like that switches write themselves: of another look none is kept.
_WRITTEN_AS: Final = "ways"
# What the network sends, and of VMs ARP and neighbour discovery (RFC 4861).
_NOT_TO_ROUTE: Final[tuple[dict[str, MatchValue], ...]] = (
    {SENDER: 0},
    {"eth_type": 0x0806},
    {"eth_type": 0x86DD, "ip_proto": 58, "icmpv6_type": 135},
    {"eth_type": 0x86DD, "ip_proto": 58, "icmpv6_type": 136},
)
_LOOK_UP: Final = Resubmit("resume"), Resubmit("assigned")


class Member(NamedTuple):
    """A VF of a segment on the host: its number and VLAN, its MACs, its sub-interface's port, None where none is."""

    number: int
    vlan: int
    macs: tuple[int, ...]
    subinterface: int | None


def chain_parts(policy: Policy, host: Host, cable: int, ports: Mapping[str, int]) -> Iterator[Part]:
    """Yield what NIC port 2 has for the chains of its host's segments."""
    yield Part(ended, None, ())
    outlets = {outlet.segment: outlet for outlet in policy.snapshot.outlets.values() if outlet.host == host.id}
    for segment in policy.snapshot.segments.values():
        chains = chains_of(policy, segment)
        if not chains:
            continue
        residents = policy.directory.residents(segment.id, host.id)
        members = tuple([_member(policy, segment, vport, ports) for vport in residents])
        outlet = outlets.get(segment.id)
        chain_port = ports.get(outlet.chain_port) if outlet is not None and outlet.chain_port else None
        courses = {chain.id: _course(policy, host, segment, chain, ports) for chain in chains}
        default = courses.get(segment.chain or "")
        for chain in chains:
            course = courses[chain.id]
            yield Part(course_entries, chain.id, (course,))
            yield Part(memory_entries, chain.id, (course,))
            looks = tuple([likenesses(policy.snapshot.functions[name], host) for name in chain.hops])
            yield Part(feigned, chain.id, (course, looks))
            for port_no in {port for hop in course.hops for stand in hop for port in (stand.inside, stand.outside)}:
                yield Part(stray_tags, port_no, (port_no,))
        begins = tuple([(course.mark, course.begin) for course in courses.values()])
        own = (default.mark, default.begin, default.end) if default is not None else None
        for member in members:
            yield Part(_begin, member.number, (cable, segment.number, member, begins, own))
            yield Part(_leave_to, member.number, (cable, segment.number, member))
        yield Part(_leave, segment.number, (cable, segment.number, members, chain_port))
        owners = policy.directory.of_segment(segment.id)
        away = tuple([mac for mac, owner in owners if owner is not None and owner.host != host.id])
        yield Part(_begin_to, segment.number, (segment.number, away))
        in_turn = sorted(courses.values(), key=lambda course: course is not default)
        yield Part(_end_to, segment.number, (segment.number, _own_macs(in_turn)))
        if chain_port is not None and own is not None:
            yield Part(_from_network, segment.number, (chain_port, segment.number, own))


def chains_of(policy: Policy, segment: Segment) -> list[Chain]:
    """Return the chains of a segment by their marks."""
    found = [chain for chain in policy.snapshot.chains.values() if chain.segment == segment.id]
    return sorted(found, key=lambda chain: chain.mark)


def _member(policy: Policy, segment: Segment, vport: Vport, ports: Mapping[str, int]) -> Member:
    macs = policy.directory.macs_of(segment.id, vport)
    return Member(vport.number, vport.vlan, macs, ports.get(vport.subinterface or ""))


def _course(policy: Policy, host: Host, segment: Segment, chain: Chain, ports: Mapping[str, int]) -> Course:
    functions = [policy.snapshot.functions[name] for name in chain.hops]
    hops = [_stands(policy, function.id, function.on(host.id), ports) for function in functions]
    return Course(
        segment=segment.number,
        mark=chain.mark,
        hops=tuple(hops),
        fail=chain.fail,
        symmetric_return=chain.symmetric_return,
        tags=tuple([tag_of(chain, function) for function in functions]),
        rewriting=tuple([function.rewriting for function in functions]),
        sign=crc32("/".join((_WRITTEN_AS, *chain.hops)).encode()) ^ chain.symmetric_return,
    )


def _stands(
    policy: Policy, function: str, instances: tuple[Instance, ...], ports: Mapping[str, int]
) -> tuple[Stand, ...]:
    """Return the instances whose ports are there."""
    made = []
    for one in instances:
        inside, outside = ports.get(one.inside), ports.get(one.outside)
        if inside is not None and outside is not None:
            works = (function, one.id) not in policy.failed
            made.append(Stand(inside=inside, outside=outside, weight=one.weight, works=works, macs=one.macs))
    return tuple(made)


def _begin(
    cable: int,
    segment: int,
    member: Member,
    begins: tuple[tuple[int, int], ...],
    own: tuple[int, int, int] | None,
) -> Iterator[FlowEntry]:
    """Yield where frames of a VF go: into the chain whose mark their tag has, the segment's own where it has none.

    Replies go back by the chain that their connection has passed, whatever the tag says.
    """
    where = SetField(SEGMENT, segment), SetField(SENDER, member.number)
    none = (own[0], own[1]) if own is not None else (0, 0)
    for mark, (chain, position) in ((0, none), *((mark, (mark, begin)) for mark, begin in begins)):
        match: dict[str, MatchValue] = {"in_port": cable, "vlan_vid": VLAN_PRESENT | member.vlan, "vlan_pcp": mark}
        to = [SetField(CHAIN, chain), SetField(POSITION, position)] if chain else []
        yield entry("splice", 100, match, PopVlan(), *where, *to, *_LOOK_UP, goto="choose", cookie=_BASE)
    if own is None:
        unchained: dict[str, MatchValue] = {SENDER: member.number, POSITION: 0}
        if member.subinterface is None:
            yield entry("choose", 79, unchained, cookie=_refusal(Refusal.NO_FUNCTION))
        else:
            yield entry("choose", 80, unchained, Output(member.subinterface), cookie=_BASE)


def _begin_to(segment: int, away: tuple[int, ...]) -> Iterator[FlowEntry]:
    """Yield that what is for a VM of another host enters a chain at its begin, whatever connections are known.

    A VM that has moved there leaves them behind, and from the begin of a chain no way leads to the network.
    """
    for mac in away:
        yield entry("resume", 110, {SEGMENT: segment, "eth_dst": mac}, cookie=_BASE)


def _own_macs(courses: Iterable[Course]) -> tuple[tuple[int, int, int], ...]:
    """Return the MACs that functions send with, each with mark and end of the first of the chains that it is in."""
    ends: dict[int, tuple[int, int]] = {}
    for course in courses:
        for mac in (mac for hop in course.hops for stand in hop for mac in stand.macs):
            ends.setdefault(mac, (course.mark, course.end))
    return tuple([(mac, *end) for mac, end in ends.items()])


def _end_to(segment: int, macs: tuple[tuple[int, int, int], ...]) -> Iterator[FlowEntry]:
    """Yield that what is for a MAC of a function's own enters at the end of its chain.

    A VM may ask and answer for addresses there; with packets it would get past functions, unless they are replies,
    which are known: a router sends them on to the network.
    """
    for mac, mark, end in macs:
        to_end = SetField(CHAIN, mark), SetField(POSITION, end)
        for match in _NOT_TO_ROUTE:
            yield entry("resume", 50, {SEGMENT: segment, "eth_dst": mac, **match}, *to_end, cookie=_BASE)


def _from_network(chain_port: int, segment: int, own: tuple[int, int, int]) -> Iterator[FlowEntry]:
    """Yield that what the network brings enters the segment's own chain at its end, or that of its connection."""
    mark, _, end = own
    where = SetField(SEGMENT, segment), SetField(CHAIN, mark), SetField(POSITION, end)
    untagged: dict[str, MatchValue] = {"in_port": chain_port, "vlan_vid": 0}
    yield entry("splice", 100, untagged, *where, *_LOOK_UP, goto="choose", cookie=_BASE)
    yield from stray_tags(chain_port)


def _leave_to(cable: int, segment: int, member: Member) -> Iterator[FlowEntry]:
    """Yield how frames behind a chain reach a VF."""
    for mac in member.macs:
        match: dict[str, MatchValue] = {SEGMENT: segment, "eth_dst": mac}
        yield entry("leave", 100, match, PushVlan(member.vlan), Output(cable), cookie=_BASE)


def _leave(cable: int, segment: int, members: tuple[Member, ...], chain_port: int | None) -> Iterator[FlowEntry]:
    """Yield where frames go behind a chain that are for no VF alone: to all others, or to the network.

    What the network has sent does not go back there.
    """
    to_all: dict[str, MatchValue] = {SEGMENT: segment, "eth_dst": _MULTICAST}
    outward, inward = {**to_all, POSITION: OUTWARD}, {**to_all, POSITION: INWARD}
    for member in members:
        others = [other.vlan for other in members if other is not member]
        for mac in member.macs:
            yield entry("leave", 100, {**outward, "eth_src": mac}, *_copies(cable, others, chain_port), cookie=_BASE)
    vlans = [member.vlan for member in members]
    yield entry("leave", 95, outward, *_copies(cable, vlans, chain_port), cookie=_BASE)
    yield entry("leave", 95, inward, *_copies(cable, vlans, None), cookie=_BASE)
    not_local = _refusal(Refusal.NOT_LOCAL)
    yield entry("leave", 40, {SEGMENT: segment}, cookie=not_local)
    if chain_port is not None:
        yield entry("leave", 50, {SEGMENT: segment, POSITION: OUTWARD}, Output(chain_port), cookie=_BASE)


def _copies(cable: int, vlans: list[int], chain_port: int | None) -> Iterator[EntryAction]:
    """Yield what sends a frame out of the network's port and to VFs, each with its VLAN."""
    if chain_port is not None:
        yield Output(chain_port)
    for number, vlan in enumerate(vlans):
        yield SetField("vlan_vid", VLAN_PRESENT | vlan) if number else PushVlan(vlan)
        yield Output(cable)


def _refusal(why: Refusal) -> int:
    return Cookie(EntryClass.GUARD, detail=why).pack()

"""Where frames are in their chains, and the standing entries of NIC port 2 that carry them from hop to hop.

A frame that is about to pass hop k has a position; so has one that has passed the last.
Frames that begin a connection go forward: into each instance's inside, out of its outside.
Replies go in reverse, by the same instances, because the switch writes down for each connection where it went
(`ryu_apps/pipeline/chain_memory.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ryu_apps.model.flow_key import VLAN_PRESENT
from ryu_apps.model.hairpin import Fail
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
from ryu_apps.pipeline.learning import NONE_UP, FirstUp, Spread
from ryu_apps.pipeline.registers import CAME_BY, CHAIN, POSITION, SEGMENT, WAY

OUTWARD: Final = 0xFFFE
"""Position of what has passed the last hop forward."""

INWARD: Final = 0xFFFF
"""Position of what has passed the first hop in reverse."""

_IN_DOUBT: Final = 0xFFE0
"""In place of a way, no port's number: whether the frame is a reply is being looked up."""

_BASE: Final = Cookie(EntryClass.BASE).pack()
_NO_FUNCTION: Final = Cookie(EntryClass.GUARD, detail=Refusal.NO_FUNCTION).pack()
_REFLECTED: Final = Cookie(EntryClass.GUARD, detail=Refusal.REFLECTED).pack()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """An instance as one host's NIC port 2 sees it: its ports by number."""

    inside: int
    outside: int
    weight: int
    works: bool
    macs: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """A chain on one host: for each hop the instances that are there.

    tags has for each hop the VLAN toward its function, 0 for none: only those that keep chains apart need one.
    sign, 32 bits, is a number that other hops give another of.
    """

    segment: int
    mark: int
    hops: tuple[tuple[Stand, ...], ...]
    fail: Fail
    symmetric_return: bool
    tags: tuple[int, ...]
    sign: int

    @property
    def place(self) -> dict[str, MatchValue]:
        """What matches frames that are on it."""
        return {SEGMENT: self.segment, CHAIN: self.mark}

    @property
    def begin(self) -> int:
        """The position at which frames from VMs enter."""
        return forward(0)

    @property
    def end(self) -> int:
        """The position at which frames that come the other way enter."""
        return reverse(len(self.hops) - 1)


def forward(hop: int) -> int:
    """Return the position before a hop, toward the end of the chain."""
    return 1 + 2 * hop


def reverse(hop: int) -> int:
    """Return the position before a hop, toward the begin of the chain."""
    return 2 + 2 * hop


def course_entries(course: Course) -> Iterator[FlowEntry]:
    """Yield how frames pass each hop of a chain, both ways."""
    yield entry("passed", 90, course.place, cookie=_REFLECTED)
    last = len(course.hops) - 1
    for hop in range(last + 1):
        yield from _begun_by_both(course, hop)
        yield from _passed(course, hop, reverse(hop), OUTWARD if hop == last else forward(hop + 1))
        yield from _passed(course, hop, forward(hop), INWARD if hop == 0 else reverse(hop - 1))
        for position in (forward(hop), reverse(hop)):
            yield from _choose(course, hop, position)
            yield from _enter(course, hop, position)
    for number, stand in enumerate(course.hops):
        for one in stand:
            yield from _arrive(course, course.tags[number], one.inside, forward(number))
            yield from _arrive(course, course.tags[number], one.outside, reverse(number))
            for mac in one.macs:
                own: dict[str, MatchValue] = {SEGMENT: course.segment, "eth_dst": mac}
                to_end = SetField(CHAIN, course.mark), SetField(POSITION, course.end)
                yield entry("resume", 50, own, *to_end, cookie=_BASE)


def _begun_by_both(course: Course, hop: int) -> Iterator[FlowEntry]:
    """Yield that a connection which both ends have begun at once goes on: one way it is replies from then on.

    What comes out of an instance's inside may have gone in there before it was known as a reply.
    """
    before: dict[str, MatchValue] = {**course.place, POSITION: forward(hop)}
    told = SetField(WAY, _IN_DOUBT + hop), Resubmit("resume")
    yield entry("passed", 95, before, *told, goto="choose", cookie=_BASE)
    doubted: dict[str, MatchValue] = {**course.place, WAY: _IN_DOUBT + hop}
    yield entry("choose", 126, {**doubted, POSITION: forward(hop)}, cookie=_REFLECTED)
    reply: dict[str, MatchValue] = {**doubted, POSITION: course.end}
    if hop == 0:
        yield entry("choose", 126, reply, SetField(POSITION, INWARD), goto="leave", cookie=_BASE)
        return
    onward = SetField(POSITION, reverse(hop - 1)), SetField(WAY, 0), Resubmit("assigned"), Resubmit("choose")
    yield entry("choose", 126, reply, *onward, cookie=_BASE)


def _arrive(course: Course, tag: int, port_no: int, position: int) -> Iterator[FlowEntry]:
    """Yield what comes out of an instance's port: at first it is looked up whether it went in by the same one."""
    match: dict[str, MatchValue] = {"in_port": port_no, "vlan_vid": VLAN_PRESENT | tag if tag else 0}
    actions: list[EntryAction] = [PopVlan()] if tag else []
    actions += [SetField(SEGMENT, course.segment), SetField(CHAIN, course.mark), SetField(POSITION, position)]
    yield entry("splice", 100, match, *actions, Resubmit("assigned"), goto="passed", cookie=_BASE)


def _passed(course: Course, hop: int, back: int, then: int) -> Iterator[FlowEntry]:
    """Yield where a frame goes that has passed an instance; `back` is the position of its reply.

    Where there is no other instance nothing has to be written down for replies, but at the end of the chain.
    """
    match: dict[str, MatchValue] = {**course.place, POSITION: back, WAY: 0}
    onward: list[EntryAction] = [SetField(POSITION, then)]
    if back == course.end or len(course.hops[hop]) > 1:
        onward.insert(0, Resubmit("remember"))
    if then in (OUTWARD, INWARD):
        yield entry("passed", 100, match, *onward, goto="leave", cookie=_BASE)
        return
    yield entry("passed", 100, match, *onward, Resubmit("assigned"), goto="choose", cookie=_BASE)


def _way(stand: Stand, position: int) -> int:
    """Return the port by which frames at a position go into an instance."""
    return stand.inside if position % 2 else stand.outside


def _choose(course: Course, hop: int, position: int) -> Iterator[FlowEntry]:
    here: dict[str, MatchValue] = {**course.place, POSITION: position}
    working = [stand for stand in course.hops[hop] if stand.works]
    if position == reverse(hop):
        yield from _to_failed(course, hop, here)
    if not working:
        yield _none_works(course, hop, position, 120, here)
        return
    members = tuple([_way(stand, position) for stand in working for _ in range(stand.weight)])
    yield entry("choose", 90, here, goto="enter", cookie=_BASE)
    for way in (0, *[_way(stand, position) for stand in course.hops[hop] if not stand.works]):
        anew: dict[str, MatchValue] = {**here, WAY: way}
        if members:
            yield entry("choose", 100, anew, Spread(members), goto="assign", cookie=_BASE)
        else:
            yield _none_works(course, hop, position, 99, anew)
    for stand in working if position == reverse(hop) else ():
        for mac in stand.macs:
            named: dict[str, MatchValue] = {**here, WAY: 0, "eth_dst": mac}
            yield entry("choose", 110, named, SetField(WAY, _way(stand, position)), goto="assign", cookie=_BASE)


def _to_failed(course: Course, hop: int, here: dict[str, MatchValue]) -> Iterator[FlowEntry]:
    """Yield what is sent to the MACs of instances that have failed: without answers to ARP none could work again."""
    tag: tuple[EntryAction, ...] = (PushVlan(course.tags[hop]),) if course.tags[hop] else ()
    for stand in course.hops[hop]:
        for mac in () if stand.works else stand.macs:
            yield entry("choose", 125, {**here, "eth_dst": mac}, *tag, Output(stand.outside), cookie=_BASE)


def _none_works(
    course: Course, hop: int, position: int, priority: int, match: dict[str, MatchValue]
) -> FlowEntry:
    """Return what becomes of frames at a hop without an instance that works: dropped and counted, or past it."""
    if course.fail is Fail.CLOSED:
        return entry("choose", priority, match, cookie=_NO_FUNCTION)
    if position == forward(hop):
        then = OUTWARD if hop == len(course.hops) - 1 else forward(hop + 1)
    else:
        then = INWARD if hop == 0 else reverse(hop - 1)
    # An entry that replaces another takes over what that has counted, so its priority is its own.
    past = SetField(POSITION, then), SetField(WAY, 0), Resubmit("assigned"), Resubmit("choose")
    return entry("choose", priority + 1, match, *past, cookie=_BASE)


def _enter(course: Course, hop: int, position: int) -> Iterator[FlowEntry]:
    here: dict[str, MatchValue] = {**course.place, POSITION: position}
    working = [_way(stand, position) for stand in course.hops[hop] if stand.works]
    if not working:
        return
    tag: tuple[EntryAction, ...] = (PushVlan(course.tags[hop]),) if course.tags[hop] else ()
    for way in working:
        others = [other for other in working if other != way]
        yield entry("enter", 100, {**here, WAY: way}, *tag, FirstUp((way, *others)), cookie=_BASE)
    yield entry("enter", 100, {**here, WAY: NONE_UP}, cookie=_NO_FUNCTION)
    # What a connection was given is there no more.
    yield entry("enter", 90, here, SetField(WAY, 0), Resubmit("choose"), cookie=_BASE)


def ended() -> Iterator[FlowEntry]:
    """Yield that what is past the last hop leaves."""
    for position in (OUTWARD, INWARD):
        # What has passed no instance leaves by the port that it came by, to which no other packet goes back.
        yield entry("choose", 130, {POSITION: position}, SetField(CAME_BY, 0), goto="leave", cookie=_BASE)


def stray_tags(port_no: int) -> Iterator[FlowEntry]:
    """Yield that a tag of no chain does not come out of an instance."""
    unknown = Cookie(EntryClass.GUARD, detail=Refusal.UNKNOWN_VLAN).pack()
    yield entry("splice", 90, {"in_port": port_no}, cookie=unknown)

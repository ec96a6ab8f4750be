"""Where frames are in their chains, and the standing entries of NIC port 2 that carry them from hop to hop.

A frame that is about to pass hop k has a position; so has one that has passed the last.
Frames that begin a connection go forward: into each instance's inside, out of its outside.
Replies go in reverse, by the same instances, because the switch writes down for each connection where it goes
(`ryu_apps/pipeline/chain_memory.py`): its heading, and its ways, the instances of all hops that it meets with the same
headers.
A way is a port's number: of an instance that was chosen for frames that rewriting has not changed yet, its inside;
of one that frames come out of, or that they meet first in reverse where it rewrites, the port at that side.
So forward each instance's inside stands once among what is written down of a connection, however often it is rewritten.
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
from ryu_apps.pipeline.learning import NONE_UP, Bits, FirstUp, Spread
from ryu_apps.pipeline.registers import CAME_BY, CHAIN, FORWARD, HEADING, POSITION, REVERSE, SEGMENT, WAYS

OUTWARD: Final = 0xFFFE
"""Position of what has passed the last hop forward."""

INWARD: Final = 0xFFFF
"""Position of what has passed the first hop in reverse."""

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
    rewriting has for each hop whether its function changes addresses or ports.
    sign, 32 bits, is a number that other hops give another of.
    """

    segment: int
    mark: int
    hops: tuple[tuple[Stand, ...], ...]
    fail: Fail
    symmetric_return: bool
    tags: tuple[int, ...]
    rewriting: tuple[bool, ...]
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

    @property
    def ways(self) -> tuple[str, ...]:
        """The registers that have the ways of its hops."""
        return WAYS[: (len(self.hops) + 1) // 2]

    @property
    def choice(self) -> bool:
        """Whether there is more than one instance for some hop."""
        return any(len(hop) > 1 for hop in self.hops)


def forward(hop: int) -> int:
    """Return the position before a hop, toward the end of the chain."""
    return 1 + 2 * hop


def reverse(hop: int) -> int:
    """Return the position before a hop, toward the begin of the chain."""
    return 2 + 2 * hop


def way_of(hop: int) -> Bits:
    """Return where the way of a hop stands."""
    return Bits(WAYS[hop // 2], hop % 2 * 16, 16)


def course_entries(course: Course) -> Iterator[FlowEntry]:
    """Yield how frames pass each hop of a chain, both ways."""
    yield from _not_back(course)
    yield from _begin_anew(course)
    last = len(course.hops) - 1
    for hop in range(last + 1):
        yield from _passed(course, reverse(hop), OUTWARD if hop == last else forward(hop + 1))
        yield from _passed(course, forward(hop), INWARD if hop == 0 else reverse(hop - 1))
        for position in (forward(hop), reverse(hop)):
            yield from _choose(course, hop, position)
            yield from _enter(course, hop, position)
    for number, stand in enumerate(course.hops):
        for one in stand:
            yield from _arrive(course, number, one.inside, forward(number))
            yield from _arrive(course, number, one.outside, reverse(number))


def _not_back(course: Course) -> Iterator[FlowEntry]:
    """Yield that what comes out of the side of an instance that it went in by is dropped.

    Positions before hops are odd forward and even in reverse; here they are those that a reply would have.
    """
    for odd, heading in ((1, FORWARD), (0, REVERSE)):
        yield entry("passed", 110, {**course.place, POSITION: (odd, 1), HEADING: heading}, cookie=_REFLECTED)


def _begin_anew(course: Course) -> Iterator[FlowEntry]:
    """Yield that frames which enter at one end, and are known to go the other way, are as good as unknown.

    Both ends may begin a connection at once: the first that has passed the chain has replies.
    """
    for position, heading in ((course.begin, REVERSE), (course.end, FORWARD)):
        match: dict[str, MatchValue] = {**course.place, POSITION: position, HEADING: heading}
        unknown = [SetField(register, 0) for register in (HEADING, *course.ways)]
        yield entry("choose", 115, match, *unknown, Resubmit("choose"), cookie=_BASE)


def _arrive(course: Course, hop: int, port_no: int, position: int) -> Iterator[FlowEntry]:
    """Yield what comes out of an instance's port; its way back is there, unless more is written down."""
    tag, way = course.tags[hop], way_of(hop)
    match: dict[str, MatchValue] = {"in_port": port_no, "vlan_vid": VLAN_PRESENT | tag if tag else 0}
    actions: list[EntryAction] = [PopVlan()] if tag else []
    actions += [SetField(SEGMENT, course.segment), SetField(CHAIN, course.mark), SetField(POSITION, position)]
    actions += [SetField(way.register, port_no << way.first), Resubmit("assigned")]
    yield entry("splice", 100, match, *actions, goto="passed", cookie=_BASE)


def _passed(course: Course, back: int, then: int) -> Iterator[FlowEntry]:
    """Yield where a frame goes that has passed an instance; `back` is the position of its reply.

    The way of replies is written down at the end of the chain, and before their headers change.
    With a choice of instances it is renewed at each hop, so that none is forgotten while the other direction is silent.
    """
    hop = (back - 1) // 2
    renamed = back == reverse(hop) and then != OUTWARD and course.rewriting[hop + 1]
    noted = (Resubmit("remember"),) if course.choice or renamed or back == course.end else ()
    goto = "leave" if then in (OUTWARD, INWARD) else "choose"
    match: dict[str, MatchValue] = {**course.place, POSITION: back}
    onward = *noted, SetField(POSITION, then)
    yield entry("passed", 100, match, *onward, goto=goto, cookie=_BASE)
    if len(course.hops[hop]) == 1:
        return
    # A connection that has just been moved may still have its old instance written down, and a datapath that moved it
    # writes only when it is looked at: what came out of another one is that one's.
    for stand in course.hops[hop]:
        port_no = stand.outside if back == reverse(hop) else stand.inside
        came: dict[str, MatchValue] = {**match, "in_port": port_no}
        for register, way in _ways(hop, stand):
            yield entry("passed", 105, {**came, register: way}, *onward, goto=goto, cookie=_BASE)
        moved = Spread((stand.inside,), way_of(hop))
        yield entry("passed", 103, came, moved, *onward, goto=goto, cookie=_BASE)


def _met_at(course: Course, hop: int, position: int, stand: Stand) -> int:
    """Return the number by which an instance is chosen at a position."""
    return stand.outside if course.rewriting[hop] and position % 2 == 0 else stand.inside


def _members(course: Course, hop: int, position: int) -> tuple[int, ...]:
    """Return what a choice at a hop is among, each as often as its weight says."""
    working = [stand for stand in course.hops[hop] if stand.works]
    return tuple([_met_at(course, hop, position, stand) for stand in working for _ in range(stand.weight)])


def _all_ahead(course: Course, hop: int, position: int) -> Iterator[Spread]:
    """Yield what chooses for all hops from one on that are met with the same headers.

    Where a function has MACs of its own they decide, once a frame is there.
    """
    ahead = range(hop, len(course.hops)) if position % 2 else range(hop, -1, -1)
    for number in ahead:
        members = _members(course, number, position)
        own_macs = position % 2 == 0 and any(stand.macs for stand in course.hops[number])
        if members and (number == hop or not own_macs):
            yield Spread(members, way_of(number))
        if course.rewriting[number]:
            return


def _choose(course: Course, hop: int, position: int) -> Iterator[FlowEntry]:
    here: dict[str, MatchValue] = {**course.place, POSITION: position}
    working = [stand for stand in course.hops[hop] if stand.works]
    if position == reverse(hop):
        yield from _to_failed(course, hop, here)
    if not working:
        yield _none_works(course, hop, position, 120, here)
        return
    members, unknown = _members(course, hop, position), {**here, HEADING: 0}
    if members:
        yield entry("choose", 105, unknown, *_all_ahead(course, hop, position), goto="assign", cookie=_BASE)
        yield entry("choose", 90, here, Spread(members, way_of(hop)), goto="assign", cookie=_BASE)
    else:
        yield _none_works(course, hop, position, 104, unknown)
        yield _none_works(course, hop, position, 89, here)
    for stand in working:
        for register, way in _ways(hop, stand):
            yield entry("choose", 100, {**here, register: way}, goto="enter", cookie=_BASE)
    for stand in working if position == reverse(hop) else ():
        for mac in stand.macs:
            register, way = way_of(hop).holding(0)
            named: dict[str, MatchValue] = {**here, register: way, "eth_dst": mac}
            chosen = Spread((_met_at(course, hop, position, stand),), way_of(hop))
            yield entry("choose", 110, named, chosen, goto="assign", cookie=_BASE)


def _ways(hop: int, stand: Stand) -> list[tuple[str, tuple[int, int]]]:
    """Return what matches the way of a hop that leads to an instance."""
    return [way_of(hop).holding(port_no) for port_no in (stand.inside, stand.outside)]


def _to_failed(course: Course, hop: int, here: dict[str, MatchValue]) -> Iterator[FlowEntry]:
    """Yield what is sent to the MACs of instances that have failed: without answers to ARP none could work again."""
    tag: tuple[EntryAction, ...] = (PushVlan(course.tags[hop]),) if course.tags[hop] else ()
    for stand in course.hops[hop]:
        for mac in () if stand.works else stand.macs:
            yield entry("choose", 125, {**here, "eth_dst": mac}, *tag, Output(stand.outside), cookie=_BASE)


def _none_works(course: Course, hop: int, position: int, priority: int, match: dict[str, MatchValue]) -> FlowEntry:
    """Return what becomes of frames at a hop without an instance that works: dropped and counted, or past it."""
    if course.fail is Fail.CLOSED:
        return entry("choose", priority, match, cookie=_NO_FUNCTION)
    noted: tuple[EntryAction, ...] = ()
    if position != forward(hop):
        then = INWARD if hop == 0 else reverse(hop - 1)
    elif hop < len(course.hops) - 1:
        then = forward(hop + 1)
    else:
        # Replies are to come back by the hops before, though this one writes nothing down.
        then, noted = OUTWARD, (SetField(POSITION, course.end), Resubmit("remember"))
    # An entry that replaces another takes over what that has counted, so its priority is its own.
    past = *noted, SetField(POSITION, then), Resubmit("choose")
    return entry("choose", priority + 1, match, *past, cookie=_BASE)


def _enter(course: Course, hop: int, position: int) -> Iterator[FlowEntry]:
    here: dict[str, MatchValue] = {**course.place, POSITION: position}
    working = [stand for stand in course.hops[hop] if stand.works]
    tag: tuple[EntryAction, ...] = (PushVlan(course.tags[hop]),) if course.tags[hop] else ()
    for stand in working:
        own, *others = [_side(one, position) for one in (stand, *[one for one in working if one is not stand])]
        for register, way in _ways(hop, stand):
            yield entry("enter", 100, {**here, register: way}, *tag, FirstUp((own, *others)), cookie=_BASE)
    if working:
        register, way = way_of(hop).holding(NONE_UP)
        yield entry("enter", 100, {**here, register: way}, cookie=_NO_FUNCTION)


def _side(stand: Stand, position: int) -> int:
    """Return the port by which frames at a position go into an instance."""
    return stand.inside if position % 2 else stand.outside


def ended() -> Iterator[FlowEntry]:
    """Yield that what is past the last hop leaves."""
    for position in (OUTWARD, INWARD):
        # What has passed no instance leaves by the port that it came by, to which no other packet goes back.
        yield entry("choose", 130, {POSITION: position}, SetField(CAME_BY, 0), goto="leave", cookie=_BASE)


def stray_tags(port_no: int) -> Iterator[FlowEntry]:
    """Yield that a tag of no chain does not come out of an instance."""
    unknown = Cookie(EntryClass.GUARD, detail=Refusal.UNKNOWN_VLAN).pack()
    yield entry("splice", 90, {"in_port": port_no}, cookie=unknown)

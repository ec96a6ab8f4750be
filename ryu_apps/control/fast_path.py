"""First packets of a kind that was met before, decided without taking their headers apart.

The plan of a connection depends on where its first packet is met and on the header bits that rules look at.
So a packet that agrees in these bits with one that went the usual way has the same plan.
One masked integer finds it; what is left to do is to see that the connection is new, and to keep it.
A packet that differs in bits that rules look at walks the layers; when it comes to a plan that is known for such
packets, only the walk is added.

Whatever is not plainly so goes the usual way, `ControlCore.packet_in`; that is also the plain twin that this equals.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from struct import Struct
from typing import Any, Final, NamedTuple

from ryu_apps.control.connection_id import head_of
from ryu_apps.control.events import PacketIn
from ryu_apps.control.flow_table import FlowTable, Kind
from ryu_apps.control.holding import Held, Holding
from ryu_apps.control.letting_go import LettingGo
from ryu_apps.control.life import Life
from ryu_apps.control.tally import Cell, Tally
from ryu_apps.control.unified_flow import UnifiedFlow
from ryu_apps.engine.connection import Plan, brought_to, connect_layers
from ryu_apps.engine.policy import Policy
from ryu_apps.model.flow_key import PROTO_TCP, PROTOS_WITH_PORTS, Family, FlowKey, Parsed
from ryu_apps.model.rules import Direction
from ryu_apps.pipeline.cached import CachedEntry
from ryu_apps.pipeline.cookie import Punt

# Ethernet, IPv4 without options, and of the transport header what holds ports and TCP's length and flags.
HEADER_BYTES: Final = 48
_ADDRESSES_AND_PORTS: Final = (1 << 96) - 1
_PROTO_AT: Final = 23
_TRANSPORT_AT: Final = 34
_BEHIND_ENDS_BITS: Final = 8 * (HEADER_BYTES - 38)
# How many kinds are remembered of one place; then all of them are learned again. A VM chooses what packets it sends.
MOST_KINDS: Final = 1024

_from_bytes = int.from_bytes
_FIELDS: Final = Struct("!16xH8xIIHH").unpack_from


def _at(offset: int, value: int, width: int = 1) -> int:
    """Return a value of so many bytes as it stands in a header of HEADER_BYTES read as one integer."""
    return value << 8 * (HEADER_BYTES - offset - width)


# What two packets of one kind agree in always, whatever the rules are: MACs and type, version and header length, that
# they are no fragments, and the protocol; DSCP, which some entry may carry although no rule for first packets looks
# at it; of TCP also the header's length, and whether it is a SYN, a FIN or a RST.
_ALWAYS: Final = _at(0, (1 << 112) - 1, 14) | _at(14, 0xFFFC, 2) | _at(20, 0x3FFF, 2) | _at(23, 0xFF)
_OF_TCP: Final = _ALWAYS | _at(46, 0xF0) | _at(47, 0x17)
_LEAST_BYTES: Final = {17: 28, 132: 32}


class Leg(NamedTuple):
    """One entry of a kind: where it goes, what it is for the packet that was met first, and whether for replies."""

    dpid: int
    entry: CachedEntry
    reply: bool


@dataclass(slots=True, eq=False)
class Answer:
    """What becomes of all first packets of one kind.

    legs are the entries to install at once; table is where the packet goes on from, None when it is dropped.
    held is the leg whose entry is held back. half_open: the connection counts as half open, being TCP.
    counts stands for all that one such packet counts.
    encoded is what the shell that writes the answers keeps with it.
    """

    kind: Kind
    legs: tuple[Leg, ...]
    table: str | None
    held: Direction | None
    half_open: bool
    least_bytes: int
    connection_head: int
    counts: Cell
    encoded: Any = None


# A packet that began a connection: the answer of its kind, the flow's id, and what makes its entries its own:
# source and destination address, source and destination port.
Met = tuple[Answer, int, int, int, int, int]


@dataclass(slots=True, eq=False)
class Alike:
    """Packets of one course that agree in all but addresses and ports: their key without these, and answers by plan."""

    key: int
    answers: dict[Plan, Answer] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Course:
    """The packets of one protocol that go from a place to one MAC.

    mask is what matters of their headers, and answers are found by headers so masked;
    always is what kinds agree in whatever the rules are, and alike is found by headers so masked.
    once holds headers masked as for answers that were met once: many are not met again.
    """

    mask: int
    always: int
    answers: dict[int, Answer] = field(default_factory=dict)
    alike: dict[int, Alike] = field(default_factory=dict)
    once: set[int] = field(default_factory=set)


@dataclass(slots=True, eq=False)
class Place:
    """Where packets miss: a cache, with the registers as they stand there; and the kinds known there.

    courses are found by protocol and destination MAC.
    """

    dpid: int
    table: str
    in_port: int
    segment: int
    sender: int
    receiver: int
    vport: int
    courses: dict[int, dict[bytes, Course]] = field(default_factory=dict)
    kinds: int = 0

    def forget(self) -> None:
        """Forget all kinds."""
        self.courses.clear()
        self.kinds = 0


class FastPath:
    """The kinds that are known, by place; forgotten whenever policy or the set of datapaths changes."""

    def __init__(
        self, policy: Policy, flows: FlowTable, holding: Holding, life: Life, tally: Tally, flows_per_vport: int
    ) -> None:
        self._policy = policy
        self._flows = flows
        self._life = life
        self._holding = holding
        self._tally = tally
        self._flows_per_vport = flows_per_vport
        self.letting_go = LettingGo(policy, flows, life, tally)
        self._places: dict[tuple[int, str, int, int, int, int], Place] = {}

    def forget(self, policy: Policy) -> None:
        """Forget all kinds, for this policy is in force from now on; places stay what they are."""
        self._policy = policy
        self.letting_go.follow(policy)
        for place in self._places.values():
            place.forget()

    def forget_askers(self, askers: Iterable[tuple[int, Direction]]) -> None:
        """Forget the kinds of what these vports send, or of what comes for them."""
        gone = {(vport, direction.value) for vport, direction in askers}
        for place in self._places.values():
            if (place.vport, place.table) in gone:
                place.forget()

    def place(self, event: PacketIn) -> Place | None:
        """Return the place of a packet that was met in a cache and had a kind; None before that."""
        return self._places.get(_where(event)) if event.punt is Punt.MISS else None

    def meet(self, place: Place, data: bytes, at: int, end: int, now_s: float) -> Met | None:
        """Return what becomes of the packet at data[at:end], its connection begun; None when it must go the usual way.

        The packet was sent up by the miss entry of the place's table.
        """
        if end - at < HEADER_BYTES:
            return None
        header = data[at : at + HEADER_BYTES]
        courses = place.courses.get(header[_PROTO_AT])
        course = courses.get(header[:6]) if courses else None
        if course is None:
            return None
        bits = _from_bytes(header, "big")
        answer = course.answers.get(bits & course.mask) or self._walk(place, course, bits)
        if answer is None:
            return None
        total, ipv4_src, ipv4_dst, l4_src, l4_dst = _FIELDS(data, at)
        if not answer.least_bytes <= total <= end - at - 14:
            return None
        source, target = ipv4_src << 16 | l4_src, ipv4_dst << 16 | l4_dst
        ends = target << 48 | source if source > target else source << 48 | target
        kind = answer.kind
        if answer.half_open and self._life.full(kind.first_vport):
            return None
        flow_id = self._flows.begin(kind, header[26:38], answer.connection_head | ends, now_s, self._flows_per_vport)
        if not flow_id:
            return None
        if answer.half_open:
            self._life.began(flow_id, kind.first_vport)
        answer.counts[0] += 1
        if answer.held is not None:
            self._holding.seen(Held(flow_id, place.vport, answer.held), now_s)
        return answer, flow_id, ipv4_src, ipv4_dst, l4_src, l4_dst

    def _walk(self, place: Place, course: Course, header: int) -> Answer | None:
        """Return what becomes of a packet by its plan, None where that plan is not known for packets like it.

        The walk leaves nothing behind: a packet whose plan is not known walks once more, the usual way.
        """
        alike = course.alike.get(header & course.always)
        segment, vport = self._policy.segments.get(place.segment), self._policy.vports.get(place.vport)
        if alike is None or segment is None or vport is None:
            return None
        key = FlowKey(Family.IPV4, alike.key | header >> _BEHIND_ENDS_BITS & _ADDRESSES_AND_PORTS)
        answer = alike.answers.get(connect_layers(self._policy, segment.id, vport, Direction(place.table), key))
        if answer is not None:
            self._met_by_plan(place, course, header & course.mask, answer)
        return answer

    def _met_by_plan(self, place: Place, course: Course, masked: int, answer: Answer) -> None:
        """Spare packets of a kind the walk from now on, if one was met before: many kinds are met only once."""
        if place.kinds >= MOST_KINDS:
            place.forget()
        elif masked in course.once:
            place.kinds += 1
            course.answers[masked] = answer
        else:
            if len(course.once) >= MOST_KINDS:
                course.once.clear()
            course.once.add(masked)

    def takes(self, event: PacketIn, parsed: Parsed) -> bool:
        """Return whether packets like this one can have a kind."""
        family, bits = parsed.key
        if family is not Family.IPV4 or parsed.l4_offset != _TRANSPORT_AT or parsed.fragment:
            return False
        proto = bits >> 104 & 0xFF
        return proto in PROTOS_WITH_PORTS and len(event.frame) >= HEADER_BYTES

    def learn(
        self, event: PacketIn, parsed: Parsed, flow: UnifiedFlow, relevant: int, legs: tuple[Leg, ...],
        table: str | None, held: Direction | None,
    ) -> None:  # fmt: skip
        """Keep what became of a packet that `takes` and began a flow, whose plan depends on these bits of its key."""
        frame = event.frame
        proto = parsed.key.bits >> 104 & 0xFF
        vport = flow.plan.forward[0].vport
        place = self._places.get(_where(event))
        if place is None:
            place = Place(*_where(event), vport)
            self._places[_where(event)] = place
        if place.kinds >= MOST_KINDS:
            place.forget()
        place.kinds += 1
        course = place.courses.setdefault(proto, {}).get(frame[:6])
        if course is None:
            course = place.courses[proto][frame[:6]] = Course(header_mask(proto, relevant), always(proto))
        counts = [("misses", vport), ("begun", vport), *(("offloads", leg.entry.vport) for leg in legs)]
        counts += [("inbound-misses", vport)] if event.table == Direction.INBOUND.value else []
        receiver = brought_to(self._policy, flow.plan)
        counts += [("brought", receiver)] if receiver else []
        if not flow.plan.allow:
            counts.append(("denied", vport))
        header = _from_bytes(frame[:HEADER_BYTES], "big")
        alike = course.alike.get(header & course.always)
        if alike is None:
            alike = course.alike[header & course.always] = Alike(parsed.key.bits & ~_ADDRESSES_AND_PORTS)
        course.answers[header & course.mask] = alike.answers[flow.plan] = Answer(
            kind=self._flows.kind(flow),
            legs=legs,
            table=table,
            held=held,
            half_open=flow.half_open and flow.plan.allow and proto == PROTO_TCP,
            least_bytes=_LEAST_BYTES.get(proto) or 20 + (frame[46] >> 4) * 4,
            connection_head=head_of(flow.segment, proto),
            counts=self._tally.joint(*counts),
        )


def _where(event: PacketIn) -> tuple[int, str, int, int, int, int]:
    return event.dpid, event.table, event.in_port, event.segment, event.sender, event.receiver


def always(proto: int) -> int:
    """Return the bits of a header in which two packets of one kind agree whatever the rules are."""
    return _OF_TCP if proto == PROTO_TCP else _ALWAYS


def header_mask(proto: int, relevant: int) -> int:
    """Return the bits of a header in which two packets of one kind agree, from those of an IPv4 key that matter."""
    return always(proto) | _at(26, relevant & _ADDRESSES_AND_PORTS, 12)

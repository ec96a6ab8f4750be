"""What NIC port 2 writes down by itself for each connection in a chain, and the entries that make it do so.

The instances that a connection was given stay its own.
How its replies come back is known where it leaves, and before its headers change: with its addresses and ports as they
are there, so that functions may change them.
One entry has all instances that a packet meets with the same headers: Open vSwitch looks at each entry with a timeout
again and again, and with one for each hop and direction chained connections were slow to set up.
No packet asks the controller for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from ryu_apps.pipeline.cached import IDLE_TIMEOUTS_S, OTHER_IDLE_TIMEOUT_S
from ryu_apps.pipeline.chain import INWARD, Course
from ryu_apps.pipeline.cookie import Cookie, EntryClass
from ryu_apps.pipeline.entry import FlowEntry, MatchValue, entry
from ryu_apps.pipeline.learning import Bits, Learn, Source, Target
from ryu_apps.pipeline.registers import CHAIN, HEADING, POSITION, SEGMENT

# The direction of a connection must outlive the instances that it was given, or its replies would count as reflected.
_LONGER_S: Final = 30
# What has ended must not pile up: Open vSwitch looks at each of these entries again and again.
# A side that has closed sends no more than acknowledgements, and what it acknowledges has the way back written anew.
_ENDED_IDLE_S: Final = 10
_ENDED_DIRECTION_IDLE_S: Final = 20
_TCP: Final = 6
_PRIORITY: Final = 100
_BASE: Final = Cookie(EntryClass.BASE).pack()


class Kind(NamedTuple):
    """A kind of packet: what matches it, and the fields that tell its connection, each with that of the reply."""

    match: dict[str, int]
    fields: tuple[tuple[str, str], ...]
    idle_s: int

    @property
    def ends(self) -> bool:
        """Whether such connections say that they have ended."""
        return self.match.get("ip_proto") == _TCP

    def tuple_(self, *, of_reply: bool) -> tuple[tuple[str, Source], ...]:
        """Return what a new entry matches: the connection of the packet at hand, or that of its reply."""
        return (*self.match.items(), *_named(self.fields, of_reply=of_reply))

    def macs(self, *, of_reply: bool) -> tuple[tuple[str, Source], ...]:
        """Return the MACs that such an entry matches besides, where the kind is not told by them."""
        return tuple(_named(_swapped("eth_src", "eth_dst"), of_reply=of_reply)) if "eth_type" in self.match else ()


def _named(fields: tuple[tuple[str, str], ...], *, of_reply: bool) -> Iterator[tuple[str, Source]]:
    """Yield what a field of a new entry is compared with."""
    for there, back in fields:
        yield (back if of_reply else there), there


def _swapped(first: str, second: str) -> tuple[tuple[str, str], ...]:
    return (first, second), (second, first)


def _kinds() -> Iterator[Kind]:
    for eth_type, version in ((0x0800, "ipv4"), (0x86DD, "ipv6")):
        addresses = _swapped(f"{version}_src", f"{version}_dst")
        for proto, name in ((6, "tcp"), (17, "udp"), (132, "sctp")):
            ports = _swapped(f"{name}_src", f"{name}_dst")
            yield Kind({"eth_type": eth_type, "ip_proto": proto}, (*addresses, *ports), IDLE_TIMEOUTS_S[proto])
        yield Kind({"eth_type": eth_type}, (("ip_proto", "ip_proto"), *addresses), OTHER_IDLE_TIMEOUT_S)
    yield Kind({}, (("eth_type", "eth_type"), *_swapped("eth_src", "eth_dst")), OTHER_IDLE_TIMEOUT_S)


_KINDS: Final = tuple(_kinds())


def memory_entries(course: Course) -> Iterator[FlowEntry]:
    """Yield what makes the switch write down the ways of a chain's connections."""
    for kind in _KINDS:
        priority = 90 + 5 * len(kind.match)
        match: dict[str, MatchValue] = {**course.place, **kind.match}
        yield entry("assign", priority, match, _learn(course, kind, of_reply=False), goto="enter", cookie=_BASE)
        back, resumed = _learn(course, kind, of_reply=True), _resumed(course, kind)
        yield entry("remember", priority, match, back, cookie=_BASE)
        at_end = (back, resumed) if course.symmetric_return else (resumed,)
        yield entry("remember", priority + 50, {**match, POSITION: course.end}, *at_end, cookie=_BASE)


def _learn(course: Course, kind: Kind, *, of_reply: bool) -> Learn:
    """Return the action that gives a connection, or its replies, the ways that the packet has, and its heading.

    What is at an odd position goes forward; a reply would be at the position at which the packet is looked at.
    """
    match: list[tuple[str, Source]] = [(name, name) for name in (SEGMENT, CHAIN)]
    # No VM turns others' connections round by their addresses: it sends with its own MAC.
    match += kind.macs(of_reply=of_reply)
    load: list[tuple[Target, Source]] = [(Bits(HEADING, 0, 1), Bits(POSITION, 0, 1)), (Bits(HEADING, 1, 1), 1)]
    load += [(register, register) for register in course.ways]
    return Learn(
        table="assigned", priority=_PRIORITY, cookie=_cookie(course), idle_timeout_s=kind.idle_s,
        fin_idle_s=_ENDED_IDLE_S if kind.ends else 0,
        match=(*match, *kind.tuple_(of_reply=of_reply)), load=tuple(load),
    )  # fmt: skip


def _resumed(course: Course, kind: Kind) -> Learn:
    """Return the action that sends the replies of a connection into the chain that it has passed, or past it.

    Only what is for the MAC that has sent is a reply: no VM reaches others by the addresses of its peer.
    """
    segment: tuple[str, Source] = (SEGMENT, SEGMENT)
    ends = kind.tuple_(of_reply=True)
    # Without an address of its own a kind is told by its MACs already.
    back: tuple[tuple[str, Source], ...] = (("eth_dst", "eth_src"),) if "eth_type" in kind.match else ()
    at: Source = course.end if course.symmetric_return else INWARD
    return Learn(
        table="resume", priority=_PRIORITY, cookie=_cookie(course), idle_timeout_s=kind.idle_s + _LONGER_S,
        fin_idle_s=_ENDED_DIRECTION_IDLE_S if kind.ends else 0,
        match=(segment, *back, *ends), load=((CHAIN, CHAIN), (POSITION, at)),
    )  # fmt: skip


def _cookie(course: Course) -> int:
    """Return the cookie of what a chain writes down; other hops have another, so that what is written goes with them.

    The sign takes what room there is: 9 bits of the detail, and the fields that such entries have no use for.
    """
    detail = course.segment << 12 | course.mark << 9 | course.sign & 0x1FF
    return Cookie(EntryClass.LEARNED, course.sign >> 21, course.sign >> 9 & 0xFFF, detail).pack()

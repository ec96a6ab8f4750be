"""The connections that a switch has given ways through instances, counted from the entries that it has written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from struct import Struct
from typing import Final, NamedTuple

from ryu_apps.control.events import PresentEntry
from ryu_apps.pipeline.registers import CHAIN, HEADING, SEGMENT, WAYS
from ryu_apps.southbound.wire import oxm

_IP: Final = oxm("ipv4_src"), oxm("ipv6_src")
# It writes the registers of a match last: the headers of these two, each with its value.
_PLACE: Final = Struct("!4sI4sI")
_HEADERS: Final = [oxm(name) for name in (SEGMENT, CHAIN)]
# Open vSwitch reports what a written entry sets as NXAST_REG_LOAD: the bits, the register's header, then 64 bits.
_LOAD: Final = Struct("!H4sQ")
_WAYS: Final = frozenset(oxm(name) for name in WAYS)
_HEADING: Final = oxm(HEADING)
_FIRST_BIT: Final = 0
# The apply-actions instruction begins so, and each action with its type and length; this is where a load has its bits.
_ACTIONS: Final = Struct("!HH4x")
_ACTION: Final = Struct("!HH")
_BITS_AT: Final = 10


class Passage(NamedTuple):
    """Through which chain of which segment, by its mark, connections go with what one entry matches.

    ports has the instances that they meet, each by the port where they do, inside or outside.
    """

    segment: int
    mark: int
    forward: bool
    ports: frozenset[int]


class Passages:
    """How many IP connections a switch has given which ways."""

    def __init__(self, present: Iterable[PresentEntry]) -> None:
        """Count the entries that the switch has written; those of other forms are passed over."""
        alike: Counter[tuple[bytes, bytes]] = Counter()
        for entry in present:
            if any(field in entry.match for field in _IP):
                alike[entry.match[-_PLACE.size :], entry.instructions] += 1
        self._counts: Counter[Passage] = Counter()
        for (place, instructions), count in alike.items():
            passage = _passage(place, instructions)
            if passage is not None:
                self._counts[passage] += count

    def into(self, inside: int) -> int:
        """Return how many connections go through the instance whose inside this port is."""
        return sum(self._most(chain, [{inside}]) for chain in {(each.segment, each.mark) for each in self._counts})

    def along(self, segment: int, mark: int, hops: Iterable[Collection[int]]) -> int:
        """Return how many connections go through a chain: those of the hop that most pass, in one direction.

        For each hop the insides of its instances are asked for.
        """
        return self._most((segment, mark), hops)

    def _most(self, chain: tuple[int, int], hops: Iterable[Collection[int]]) -> int:
        found = [(each, count) for each, count in self._counts.items() if (each.segment, each.mark) == chain]
        return max(
            (
                sum(count for each, count in found if each.forward == forward and not each.ports.isdisjoint(insides))
                for insides in hops
                for forward in (True, False)
            ),
            default=0,
        )


def _passage(place: bytes, instructions: bytes) -> Passage | None:
    """Return what an entry says, None where it is of another form."""
    if len(place) != _PLACE.size:
        return None
    segment_header, segment, mark_header, mark = _PLACE.unpack(place)
    if [segment_header, mark_header] != _HEADERS:
        return None
    forward, ports = False, set()
    for bits, register, value in _loads(instructions):
        if (register, bits) == (_HEADING, _FIRST_BIT):
            forward = bool(value)
        elif register in _WAYS:
            ports |= {value & 0xFFFF, value >> 16}
    return Passage(segment, mark, forward, frozenset(ports - {0}))


def _loads(instructions: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Yield which bits of which register are set, by its header, to which value; other actions are passed over."""
    at = _ACTIONS.size
    while at + _ACTION.size <= len(instructions):
        _, length = _ACTION.unpack_from(instructions, at)
        if length == _BITS_AT + _LOAD.size and at + length <= len(instructions):
            yield _LOAD.unpack_from(instructions, at + _BITS_AT)
        at += max(length, 8)

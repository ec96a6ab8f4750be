"""The connections that a switch has given ways through instances, counted from the entries that it has written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from struct import Struct
from typing import Final, NamedTuple

from ryu_apps.control.events import PresentEntry
from ryu_apps.pipeline.registers import CHAIN, POSITION, SEGMENT, WAY
from ryu_apps.southbound.wire import oxm

_IP: Final = oxm("ipv4_src"), oxm("ipv6_src")
# Open vSwitch reports what a written entry sets as NXAST_REG_LOAD: the register's header, then 64 bits.
_LOAD: Final = oxm(WAY)
_VALUE_BYTES: Final = 8
# It writes the registers of a match last: the headers of these three, each with its value.
_PLACE: Final = Struct("!4sI4sI4sI")
_HEADERS: Final = [oxm(name) for name in (SEGMENT, CHAIN, POSITION)]


class Passage(NamedTuple):
    """Where connections go: at which position of which segment's chain, by its mark, into which port."""

    segment: int
    mark: int
    position: int
    way: int


class Passages:
    """How many IP connections a switch has given each way."""

    def __init__(self, present: Iterable[PresentEntry]) -> None:
        """Count the entries that the switch has written; those of other forms are passed over."""
        places: Counter[tuple[bytes, bytes]] = Counter()
        for entry in present:
            at = entry.instructions.find(_LOAD) + len(_LOAD)
            if at >= len(_LOAD) and any(field in entry.match for field in _IP):
                places[entry.match[-_PLACE.size :], entry.instructions[at : at + _VALUE_BYTES]] += 1
        self._counts: Counter[Passage] = Counter()
        for (place, way), count in places.items():
            segment, mark, position = _place(place)
            self._counts[Passage(segment, mark, position, int.from_bytes(way, "big"))] += count

    def into(self, port_no: int) -> int:
        """Return how many connections go into a port.

        A connection has an entry for each side of an instance; that of the inside is where its frames from VMs go in.
        """
        return sum(count for passage, count in self._counts.items() if passage.way == port_no)

    def along(self, segment: int, mark: int) -> int:
        """Return how many connections go through a chain: those of the hop that most have passed, in one direction."""
        at: Counter[int] = Counter()
        for passage, count in self._counts.items():
            if (passage.segment, passage.mark) == (segment, mark):
                at[passage.position] += count
        return max(at.values(), default=0)


def _place(tail: bytes) -> tuple[int, int, int]:
    """Return segment, mark and position at the end of a match, zeros where it is of another form."""
    if len(tail) != _PLACE.size:
        return 0, 0, 0
    segment_header, segment, mark_header, mark, position_header, position = _PLACE.unpack(tail)
    known = [segment_header, mark_header, position_header] == _HEADERS
    return (segment, mark, position) if known else (0, 0, 0)

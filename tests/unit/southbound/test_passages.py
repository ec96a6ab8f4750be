"""Connections of instances and chains, counted from what a switch says that it has written."""

from __future__ import annotations

from ryu_apps.control.events import PresentEntry
from ryu_apps.southbound.passages import Passages

# As Open vSwitch 3.1 reports them: load:0xa->NXM_NX_REG12[], and of 16 bits of a port 0xb.
INSIDE = "0004002000000000ffff0018000023200007001f00011804000000000000000a"
OUTSIDE = "0004002000000000ffff0018000023200007000f00011804000000000000000b"
UDP = "80000a020800800016040a000001800018040a0000028000140111"
ARP = "80000a0208060001000400000001"


def place(segment: int, mark: int, position: int) -> str:
    """Return the end of a match: reg0, reg10 and reg11."""
    return f"00010004{segment:08x}00011404{mark:08x}00011604{position:08x}"


def written(match: str, instructions: str) -> PresentEntry:
    """Return an entry that a switch has written."""
    return PresentEntry(4, 100, 0, bytes.fromhex(match), bytes.fromhex(instructions), 60, 0, 0, 0)


def test_connections_are_counted_by_their_way() -> None:
    """H12: each IP connection counts at the port that it goes in by; ARP is no connection."""
    found = Passages([written(UDP, INSIDE), written(UDP, INSIDE), written(UDP, OUTSIDE), written(ARP, INSIDE)])
    assert (found.into(0xA), found.into(0xB), found.into(0xC)) == (2, 1, 0)
    assert Passages([written(UDP, "")]).into(0) == 0


def test_connections_of_a_chain_count_once_however_many_its_hops() -> None:
    """H11: a chain has the connections of the hop that most have passed, in one direction; not those of another."""
    entries = [written(UDP + place(7, 1, position), way) for position, way in ((1, INSIDE), (1, INSIDE), (3, INSIDE))]
    entries += [written(UDP + place(7, 1, 4), OUTSIDE) for _ in range(3)]
    entries += [written(UDP + place(7, 2, 1), INSIDE), written(ARP + place(7, 1, 4), OUTSIDE)]
    found = Passages(entries)
    assert [found.along(*chain) for chain in ((7, 1), (7, 2), (8, 1))] == [3, 1, 0]
    for match in (UDP, UDP + place(7, 1, 1)[:-2], place(7, 1, 1) + UDP):
        assert Passages([written(match, INSIDE)]).along(7, 1) == 0

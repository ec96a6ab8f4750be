"""Connections of instances and chains, counted from what a switch says that it has written."""

from __future__ import annotations

from ryu_apps.control.events import PresentEntry
from ryu_apps.southbound.passages import Passages

UDP = "80000a020800800016040a000001800018040a0000028000140111"
ARP = "80000a0208060001000400000001"
HEADING, FIRST, SECOND = "00011804", "00010404", "00010604"


def place(segment: int, mark: int) -> str:
    """Return the end of a match: reg0 and reg10."""
    return f"00010004{segment:08x}00011404{mark:08x}"


def load(bits: int, register: str, value: int) -> str:
    """Return an action as Open vSwitch 3.1 reports it, for example load:0xa->NXM_NX_REG2[]."""
    return f"ffff0018000023200007{bits:04x}{register}{value:016x}"


def ways(*ports: int, forward: bool = True) -> str:
    """Return the instructions of an entry that leads into these ports, one for each of up to four hops."""
    first, second, third, fourth = (*ports, 0, 0, 0)[:4]
    pairs = first | second << 16, third | fourth << 16
    actions = load(0, HEADING, int(forward)) + load(0x40, HEADING, 1)
    actions += load(0x1F, FIRST, pairs[0]) + load(0x1F, SECOND, pairs[1])
    return f"0004{8 + len(actions) // 2:04x}00000000{actions}"


def written(match: str, instructions: str) -> PresentEntry:
    """Return an entry that a switch has written."""
    return PresentEntry(4, 100, 0, bytes.fromhex(match), bytes.fromhex(instructions), 60, 0, 0, 0)


def test_connections_are_counted_by_their_ways() -> None:
    """H12: each IP connection counts at the instances that it meets, once for both directions; ARP is no connection."""
    here = UDP + place(7, 1)
    found = Passages([
        written(here, ways(0xA, 0xC)), written(here, ways(0xB, 0xC)), written(here, ways(0xB, 0xC, forward=False)),
        written(ARP + place(7, 1), ways(0xA)),
    ])  # fmt: skip
    assert [found.into(port) for port in (0xA, 0xB, 0xC, 0xD, 0)] == [1, 1, 2, 0, 0]
    timed = ways(0xA)[:16] + "ffff00100000232000130000000a0000" + ways(0xA)[16:]
    assert Passages([written(here, timed)]).into(0xA) == 1
    whole = ways(0xA)
    for length in range(0, len(whole) - 1, 2):
        assert Passages([written(here, whole[:length])]).into(0xB) == 0
    assert Passages([written(here, whole[:-2])]).into(0xA) == 1
    assert Passages([written(here, "")]).into(0xA) == 0


def test_an_instance_that_several_chains_share_has_the_connections_of_all() -> None:
    """H11: of each chain those of the direction with more count, and the chains' are added."""
    entries = [written(UDP + place(7, mark), ways(0xA)) for mark in (1, 2, 2)]
    entries += [written(UDP + place(7, 1), ways(0xA, forward=False)) for _ in range(4)]
    assert Passages(entries).into(0xA) == 6


def test_connections_of_a_chain_count_once_however_many_its_hops() -> None:
    """H11: a chain has the connections of the hop that most pass, in one direction; not those of another."""
    one, other = UDP + place(7, 1), UDP + place(7, 2)
    entries = [written(one, ways(0xA, 0x10)), written(one, ways(0xB, 0x10)), written(one, ways(0xB, 0, 0x20))]
    entries += [written(one, ways(0xA, forward=False)), written(other, ways(0xA)), written(ARP + place(7, 1), ways(1))]
    found, hops = Passages(entries), [(0xA, 0xB), (0x10,), (0x20,)]
    assert [found.along(*chain, hops) for chain in ((7, 1), (7, 2), (8, 1))] == [3, 1, 0]
    for match in (UDP, one[:-2], place(7, 1) + UDP):
        assert Passages([written(match, ways(0xA))]).along(7, 1, hops) == 0

"""Who has failed by probes: rows of lost and answered ones, and what must not be taken for either."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ryu_apps.control.probes import TURN_S, Aim, Probes, Shot
from ryu_apps.model.probe import Probe
from ryu_apps.pipeline.probing import TOKEN_BYTES, Target, probe_frame, token_of

# One at a time is under way.
PROBE = Probe(interval_ms=100, timeout_ms=50, fall=3, rise=2)
NAME = ("fw", "a")
DPID, INSIDE, OUTSIDE = 0x101, 11, 12


def aim(probe: Probe = PROBE, name: tuple[str, str] = NAME) -> Aim:
    """Return where an instance is probed."""
    return Aim(DPID, Target(*name, INSIDE, OUTSIDE, 0, False, probe))


class Bench:
    """Probes of one instance with a clock that a test moves, turn by turn."""

    def __init__(self, probe: Probe = PROBE) -> None:
        self.probes = Probes()
        self.now_s = 1000.0
        self.numbers = count(1)
        self.probes.aim({NAME: aim(probe)}, self.now_s)

    def turn(self, after_s: float = TURN_S) -> list[Shot]:
        """Take one turn after so much time; return what is sent."""
        self.now_s += after_s
        shots, _ = self.probes.turn(self.now_s, lambda: next(self.numbers).to_bytes(TOKEN_BYTES, "big"))
        return shots

    def next_shot(self) -> Shot:
        """Return the next probe that is sent."""
        while True:
            for shot in self.turn():
                return shot

    def answer(self, shot: Shot, port_no: int = OUTSIDE, dpid: int = DPID) -> None:
        """Have a probe come back."""
        self.probes.came_back(dpid, port_no, shot.frame, self.now_s)

    @property
    def works(self) -> bool:
        """Whether the instance works."""
        return NAME not in self.probes.failed


def lose(bench: Bench, probes: int) -> None:
    """Have so many probes be lost, one after another."""
    lost = bench.probes.count_of(NAME)
    assert lost is not None
    while (now := bench.probes.count_of(NAME)) is not None and now.lost < lost.lost + probes:
        bench.turn()


def test_it_takes_a_row_of_lost_ones_and_a_row_of_answers() -> None:
    """H12: an instance fails with the last of `fall` lost in a row and works with the last of `rise` answered."""
    bench = Bench()
    lose(bench, 2)
    assert bench.works
    lose(bench, 1)
    assert not bench.works
    bench.answer(bench.next_shot())
    assert not bench.works
    bench.answer(bench.next_shot())
    assert bench.works


@given(st.lists(st.booleans(), max_size=60))
def test_the_state_follows_from_the_rows(answered: list[bool]) -> None:
    """H12: whatever comes back and what does not, the state is that of the last row that was long enough."""
    bench, works, row = Bench(), True, 0
    for comes_back in answered:
        shot = bench.next_shot()
        if comes_back:
            bench.answer(shot)
            row = max(row, 0) + 1
        else:
            lose(bench, 1)
            row = min(row, 0) - 1
        works = works or row >= PROBE.rise if row > 0 else works and -row < PROBE.fall
        assert bench.works == works


def test_a_late_answer_is_none() -> None:
    """H12: what comes back after its time was lost, and is not counted again."""
    bench = Bench()
    shot = bench.next_shot()
    lose(bench, 1)
    bench.answer(shot)
    found = bench.probes.count_of(NAME)
    assert found is not None
    assert (found.lost, found.answered) == (1, 0)


def test_an_answer_counts_once_and_only_from_its_own_outside() -> None:
    """H12: a probe comes back from the instance that it was sent into, and not twice."""
    bench = Bench()
    shot = bench.next_shot()
    bench.answer(shot, port_no=INSIDE)
    bench.answer(shot, dpid=DPID + 1)
    bench.answer(shot._replace(frame=shot.frame[:-1] + b"\xff"))
    bench.answer(shot._replace(frame=b""))
    found = bench.probes.count_of(NAME)
    assert found is not None
    assert found.answered == 0
    for _ in range(2):
        bench.answer(shot)
    found = bench.probes.count_of(NAME)
    assert found is not None
    assert (found.answered, found.latency_s) == (1, 0.0)


def test_a_pause_of_the_process_loses_no_probe() -> None:
    """H12: answers that wait unread while the process stands still are not taken for lost ones."""
    bench = Bench(Probe(interval_ms=100, timeout_ms=1000, fall=1, rise=1))
    shots = [bench.next_shot() for _ in range(3)]
    bench.turn(after_s=5.0)
    assert bench.works
    for shot in shots:
        bench.answer(shot)
    found = bench.probes.count_of(NAME)
    assert found is not None
    assert (found.lost, found.answered) == (0, 3)
    # Only what stood still is forgiven: what stays away after it is lost.
    lose(bench, 1)
    assert not bench.works


def test_what_a_pause_left_out_is_not_sent_at_once() -> None:
    """H12: after a pause one probe is sent and not one for each interval of it."""
    bench = Bench()
    bench.next_shot()
    assert len(bench.turn(after_s=2.0)) == 1
    assert bench.turn() == []


def test_an_instance_out_of_reach_keeps_its_state() -> None:
    """H12: while its datapath is away nothing is sent and nothing lost; one without a probe is forgotten."""
    bench = Bench()
    lose(bench, 3)
    bench.probes.aim({NAME: None}, bench.now_s)
    lost = bench.probes.count_of(NAME)
    assert [bench.turn() for _ in range(50)] == [[]] * 50
    assert (bench.probes.count_of(NAME), bench.works) == (lost, False)
    bench.probes.aim({NAME: aim()}, bench.now_s)
    bench.next_shot()
    assert not bench.works
    assert bench.probes.aim({}, bench.now_s)
    assert (bench.probes.count_of(NAME), bench.works) == (None, True)


def test_another_probe_begins_anew() -> None:
    """H12: an instance that is probed otherwise works until it shows that it does not."""
    bench = Bench()
    lose(bench, 3)
    assert bench.probes.aim({NAME: aim(Probe(interval_ms=200))}, bench.now_s)
    assert bench.works


def test_instances_are_probed_at_their_interval_each_in_its_turn() -> None:
    """H12: each instance has its probes at even times, and many instances not all at the same one."""
    bench = Bench()
    names = [("fw", str(number)) for number in range(50)]
    bench.probes.aim({name: aim(name=name) for name in names}, bench.now_s)
    turns = [len(bench.turn()) for _ in range(int(1 / TURN_S))]
    assert sum(turns) == pytest.approx(500, rel=0.1)
    assert max(turns) < 25


@given(st.integers(0, 4094), st.binary(min_size=TOKEN_BYTES, max_size=TOKEN_BYTES))
def test_a_token_is_found_again(tag: int, token: bytes) -> None:
    """H12: what a probe carries is read from its frame, with a tag or without."""
    assert token_of(probe_frame(PROBE, token, tag)) == token


@given(st.binary(max_size=60))
def test_any_frame_can_be_read(frame: bytes) -> None:
    """H12: a frame that is cut short, or none of ours, has a token that nobody waits for."""
    assert len(token_of(frame)) <= TOKEN_BYTES
    assert not Bench().probes.came_back(DPID, OUTSIDE, frame, 0.0)


def test_what_had_failed_works_when_its_probes_are_back() -> None:
    """H12 M26: what had failed before the process began works when `rise` probes in a row have come back."""
    bench = Bench()
    bench.probes.aim({}, bench.now_s)
    bench.probes.had_failed([NAME])
    assert not bench.works
    bench.probes.aim({NAME: None}, bench.now_s)
    assert not bench.works
    bench.probes.aim({NAME: aim()}, bench.now_s)
    bench.answer(bench.next_shot())
    lose(bench, 1)
    bench.answer(bench.next_shot())
    assert not bench.works
    bench.answer(bench.next_shot())
    assert bench.works


def test_what_had_failed_and_is_probed_no_more_works() -> None:
    """H12: of an instance without a probe nothing is kept, and what has begun since is not overruled."""
    bench = Bench()
    bench.probes.had_failed([NAME])
    assert bench.works
    bench.probes.had_failed([("fw", "b")])
    assert bench.probes.failed == {("fw", "b")}
    assert bench.probes.aim({NAME: aim()}, bench.now_s)
    assert bench.probes.failed == frozenset()

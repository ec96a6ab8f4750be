"""Who is in a NIC whose table is smaller than the host's (rows M11, M28)."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from dataclasses import dataclass
from enum import Enum

from hypothesis import given, settings
from hypothesis import strategies as st

from ryu_apps.engine.nic_cache import INSTALL, KNOWN_PKTS, NicCache
from ryu_apps.engine.nic_share import TRIAL_SAMPLE
from tests.unit.engine.plain_nic_cache import PlainNicCache


class _Kind(Enum):
    MISSED = "missed"
    COUNTED = "counted"
    REMOVED = "removed"
    RESIZED = "resized"


@dataclass(frozen=True)
class _Step:
    kind: _Kind
    flow: int
    number: int
    after_s: float

    @property
    def vport(self) -> int:
        return self.flow % 4 + 1


_KINDS = st.sampled_from([_Kind.MISSED] * 12 + [_Kind.COUNTED] * 4 + [_Kind.REMOVED, _Kind.RESIZED])
# Few flows that come often, and many that hardly do.
_FLOWS = st.one_of(st.integers(0, 15), st.integers(0, 400))
_STEPS = st.lists(
    st.builds(_Step, _KINDS, _FLOWS, st.integers(0, 30), st.sampled_from([0.0, 0.001, 0.1, 1.0, 5.0])),
    min_size=20,
    max_size=400,
)
_CAPACITIES = st.integers(0, 24)


def _play(cache: NicCache | PlainNicCache, steps: list[_Step]) -> list[object]:
    """Return every answer of a cache."""
    now_s, answers = 0.0, list[object]()
    for step in steps:
        now_s += step.after_s
        match step.kind:
            case _Kind.MISSED:
                answers.append(tuple(cache.missed(step.flow, step.vport, now_s)))
            case _Kind.COUNTED:
                cache.counted(step.flow, step.number, now_s)
            case _Kind.REMOVED:
                cache.removed(step.flow)
            case _Kind.RESIZED:
                answers.append(cache.resized(step.number, now_s))
    return answers


@given(_CAPACITIES, _STEPS)
@settings(max_examples=150)
def test_the_quick_structures_decide_as_plain_looking_does(capacity: int, steps: list[_Step]) -> None:
    """Every decision equals that of a twin that looks at all entries each time."""
    assert _play(NicCache(capacity), steps) == _play(PlainNicCache(capacity), steps)


@given(_CAPACITIES, _STEPS)
def test_the_same_events_make_the_same_decisions(capacity: int, steps: list[_Step]) -> None:
    """There is no chance in it."""
    assert _play(NicCache(capacity), steps) == _play(NicCache(capacity), steps)


@given(_CAPACITIES, _STEPS)
def test_the_table_is_never_fuller_than_its_capacity(capacity: int, steps: list[_Step]) -> None:
    """M11: what the answers leave in the NIC fits at every moment, is what the cache says, and removals are counted."""
    cache, installed, evicted, refused = NicCache(capacity), dict[int, int](), Counter[int](), Counter[int]()
    for now_s, step in enumerate(steps):
        gone: tuple[int, ...] = ()
        if step.kind is _Kind.MISSED:
            decision = cache.missed(step.flow, step.vport, float(now_s))
            gone = decision.remove
            refused[step.vport] += not decision.install
        elif step.kind is _Kind.RESIZED:
            gone = cache.resized(step.number, float(now_s))
        elif step.kind is _Kind.REMOVED:
            cache.removed(step.flow)
            installed.pop(step.flow, None)
        for flow in gone:
            evicted[installed.pop(flow)] += 1
        if step.kind is _Kind.MISSED and decision.install:
            installed[step.flow] = step.vport
        assert len(installed) == len(cache) <= (cache.capacity or 0)
        assert all(flow in cache for flow in installed)
        assert all(cache.held(vport) == list(installed.values()).count(vport) for vport in range(1, 5))
    assert (+cache.evictions, +cache.refusals) == (+evicted, +refused)


@given(_CAPACITIES, _STEPS)
def test_no_vf_takes_what_is_anothers_share(capacity: int, steps: list[_Step]) -> None:
    """M11: below its share a VF always gets in, and it loses entries only to one that has at least two fewer."""
    cache, vport_of = NicCache(capacity), dict[int, int]()
    for now_s, step in enumerate(steps):
        if step.kind is _Kind.COUNTED:
            cache.counted(step.flow, step.number, float(now_s))
        if step.kind is not _Kind.MISSED or step.flow in cache:
            continue
        held = {vport: cache.held(vport) for vport in range(1, 5)}
        active = sum(bool(count) or vport == step.vport for vport, count in held.items())
        decision = cache.missed(step.flow, step.vport, float(now_s))
        vport_of[step.flow] = step.vport
        if held[step.vport] < capacity // active:
            assert decision.install
        for flow in decision.remove:
            assert vport_of[flow] == step.vport or held[vport_of[flow]] >= held[step.vport] + 2


@given(st.integers(1, 6), st.integers(1, 60))
def test_all_vfs_that_want_more_end_with_equal_parts(vports: int, capacity: int) -> None:
    """M11: flows that come again and again leave no VF more than one entry above another, whoever was first."""
    cache = NicCache(capacity)
    for flow in range(capacity):
        cache.missed(flow, 0, 0.0)
    for _ in range(KNOWN_PKTS):
        for vport in range(1, vports + 1):
            for number in range(capacity):
                cache.missed(1000 * vport + number, vport, 1.0)
    held = [cache.held(vport) for vport in range(vports + 1)]
    assert sum(held) == capacity
    assert max(held) - min(held) <= 1


def _busy(cache: NicCache, flows: range, vport: int) -> None:
    """Put in flows that the NIC has counted 50 packets for."""
    for flow in flows:
        assert cache.missed(flow, vport, 0.0).install
    for flow in flows:
        cache.counted(flow, 50, 1.0)


def test_a_scan_leaves_the_busy_flows_of_its_own_vf() -> None:
    """M11: 100,000 flows of one packet in a second take none but the few places for trials, and few are installed."""
    cache = NicCache(100)
    _busy(cache, range(100), 1)
    installs = 0
    for number in range(100_000):
        decision = cache.missed(1000 + number, 1, 1 + number / 100_000)
        installs += decision.install
        for flow in decision.remove:
            cache.counted(flow, 50 if flow < 100 else 0, 1 + number / 100_000)
    assert sum(flow in cache for flow in range(100)) >= 80
    assert installs < 1.2 * 100_000 / TRIAL_SAMPLE
    assert cache.refusals[1] == 100_000 - installs


def test_a_scan_takes_no_more_than_its_share_from_others() -> None:
    """M11: with three VFs a scan ends at a third, though one VF has little, and the busiest of the other stay."""
    cache = NicCache(100)
    _busy(cache, range(99), 1)
    _busy(cache, range(500, 501), 3)
    for flow in range(60):
        cache.counted(flow, 500, 1.0)
    for number in range(100_000):
        cache.missed(1000 + number, 2, 1 + number / 100_000)
    assert (cache.held(2), cache.held(3)) == (33, 1)
    assert all(flow in cache for flow in range(60))


def test_between_vfs_that_differ_by_one_nothing_moves() -> None:
    """M11: a flow that comes again and again displaces its own VF's, when the other has only one entry more."""
    cache = NicCache(9)
    _busy(cache, range(5), 1)
    _busy(cache, range(10, 14), 2)
    for number in range(200):
        cache.missed(20 + number % 3, 2, 2.0)
    assert (cache.held(1), cache.held(2)) == (5, 4)


def test_a_busy_flow_gets_in_through_the_scan_of_its_own_vf() -> None:
    """M11: a flow of 1,000 packets a second is installed amid 100,000 one-packet flows a second, and stays."""
    cache = NicCache(100)
    _busy(cache, range(100), 1)
    for number in range(20_000):
        now_s = 8 + number / 100_000
        cache.missed(1000 + number, 1, now_s)
        if number % 100 == 0 and 7777 not in cache:
            cache.missed(7777, 1, now_s)
    assert 7777 in cache


def test_a_scan_does_not_fill_memory() -> None:
    """A second and a third 10,000 one-packet flows leave the memory where the first left it."""
    cache = NicCache(1000)
    tracemalloc.start()
    sizes = []
    for begin in range(0, 30_000, 10_000):
        for flow in range(begin, begin + 10_000):
            cache.missed(flow, flow % 3, flow / 100_000)
        sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert max(sizes) < 1_500_000
    assert sizes[2] - sizes[0] < 100_000


def test_flows_that_come_and_end_do_not_fill_memory() -> None:
    """Entries that are removed for another reason leave nothing behind."""
    cache = NicCache(1000)
    tracemalloc.start()
    sizes = []
    for begin in range(0, 30_000, 10_000):
        for flow in range(begin, begin + 10_000):
            cache.missed(flow, 1, flow / 1000)
            cache.counted(flow, 5, flow / 1000)
            cache.removed(flow)
        sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert sizes[2] - sizes[0] < 100_000


def test_the_idle_flow_goes_first() -> None:
    """Of flows that were equally busy, the one without packets since goes for a flow that came twice."""
    cache = NicCache(20)
    _busy(cache, range(20), 1)
    for flow in range(20):
        if flow != 11:
            cache.counted(flow, 100, 30.0)
    for _ in range(10):
        cache.missed(99, 1, 40.0)
    assert 11 not in cache
    assert 99 in cache


def test_trials_begin_again_when_they_pay() -> None:
    """After a scan, trains of packets bring a VF's trials back."""
    cache = NicCache(100)
    _busy(cache, range(100), 1)

    def tried(first: int, counted: int) -> int:
        installs = 0
        for flow in range(first, first + 2000):
            decision = cache.missed(flow, 1, 2.0)
            installs += decision.install
            for gone in decision.remove:
                cache.counted(gone, counted, 2.0)
        return installs

    assert tried(1000, 0) < 400
    assert tried(5000, 8) > 1500


@given(_CAPACITIES, _STEPS, _CAPACITIES)
def test_what_would_leave_under_a_smaller_capacity_is_what_leaves(
    capacity: int, steps: list[_Step], smaller: int
) -> None:
    """M11: asked beforehand, a cache names the flows that a smaller capacity takes, in their order."""
    cache = NicCache(capacity)
    _play(cache, steps)
    capacity = cache.capacity or 0
    foreseen = cache.leaving(min(smaller, capacity))
    assert foreseen == cache.leaving(min(smaller, capacity))
    assert cache.resized(min(smaller, capacity), 1000.0) == foreseen


def test_a_smaller_capacity_takes_from_the_largest_and_a_larger_takes_nothing() -> None:
    """M11: a new limit removes what is too much, from whoever has most."""
    cache = NicCache(30)
    _busy(cache, range(10), 1)
    _busy(cache, range(100, 120), 2)
    gone = cache.resized(14, 2.0)
    assert len(gone) == 16
    assert (cache.held(1), cache.held(2)) == (7, 7)
    assert cache.resized(40, 2.0) == ()
    assert cache.missed(500, 3, 2.0) == INSTALL


def test_without_a_limit_everything_is_installed_and_nothing_kept() -> None:
    """No capacity means no decisions and no books; a later limit starts from the entries that are found."""
    cache = NicCache(None)
    assert all(cache.missed(flow, 1, 0.0) == INSTALL for flow in range(100))
    assert len(cache) == 0
    assert cache.resized(10, 1.0) == ()
    gone = [flow for number in range(100) for flow in cache.found(number, 1, 5, 1.0)]
    assert len(cache) == 10
    assert len(set(gone)) == 90
    assert cache.resized(None, 2.0) == ()
    assert len(cache) == 0


def test_an_entry_on_its_way_is_sent_again() -> None:
    """A packet that overtook its entry asks for no second place."""
    cache = NicCache(2)
    cache.missed(1, 1, 0.0)
    assert cache.missed(1, 1, 0.0) == INSTALL
    assert len(cache) == 1


def test_a_vport_that_goes_takes_its_entries_and_leaves_its_share() -> None:
    """The others divide what it had."""
    cache = NicCache(10)
    _busy(cache, range(5), 1)
    _busy(cache, range(100, 105), 2)
    cache.vport_removed(2)
    assert cache.held(2) == 0
    assert [cache.missed(flow, 1, 2.0) for flow in range(10, 15)] == [INSTALL] * 5
    assert cache.missed(200, 3, 2.0).install


def test_a_count_that_begins_again_still_counts() -> None:
    """An entry that was installed anew counts from nothing, and its packets keep it in."""
    cache = NicCache(2)
    _busy(cache, range(2), 1)
    cache.counted(0, 40, 60.0)
    for _ in range(10):
        cache.missed(9, 1, 61.0)
    assert (0 in cache, 1 in cache, 9 in cache) == (True, False, True)

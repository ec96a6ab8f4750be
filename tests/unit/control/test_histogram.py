"""The histogram of miss latencies: which bucket a duration falls into, counts and sums, and the pace of a counter."""

from __future__ import annotations

from math import inf, isclose

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ryu_apps.control.histogram import BOUNDS_S, Histogram
from ryu_apps.control.pace import Pace


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 64))))
def test_buckets_and_sums_agree_with_what_was_observed(batches: list[tuple[float, int]]) -> None:
    """M28: each bucket holds the misses that took no longer than its bound, and the sum is that of all durations."""
    histogram = Histogram()
    for duration_s, misses in batches:
        histogram.observe(duration_s, misses)
    told = histogram.now()
    for bound_s, count in told.cumulative():
        assert count == sum(misses for duration_s, misses in batches if duration_s <= bound_s)
    assert told.cumulative()[-1] == (inf, told.count)
    assert isclose(told.sum_s, sum(duration_s * misses for duration_s, misses in batches), abs_tol=1e-9)


def test_buckets_reach_from_ten_microseconds_to_a_tenth_of_a_second() -> None:
    """M28: the bounds rise, and a bound belongs to its own bucket."""
    assert (BOUNDS_S[0], BOUNDS_S[-1]) == (10e-6, 100e-3) and list(BOUNDS_S) == sorted(set(BOUNDS_S))
    for place, bound_s in enumerate(BOUNDS_S):
        histogram = Histogram()
        histogram.observe(bound_s, 3)
        assert histogram.now().counts[place] == 3


def test_what_was_told_does_not_change() -> None:
    """M28: later misses are not seen in counts that were told before."""
    histogram = Histogram()
    histogram.observe(1.0, 1)
    told = histogram.now()
    histogram.observe(1.0, 1)
    assert (told.count, histogram.now().count) == (1, 2)


def test_the_pace_is_that_of_the_last_whole_window() -> None:
    """M28: connections per second are told from the second sample on, over the time since the older one."""
    pace = Pace()
    pace.sample(10.0, 100)
    assert pace.per_s(11.0, 200) is None
    pace.sample(15.0, 300)
    assert pace.per_s(20.0, 600) == pytest.approx(50)
    pace.sample(20.0, 600)
    assert pace.per_s(20.5, 600) == pytest.approx(300 / 5.5)

"""The sketch of recent packets against plain counting."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from ryu_apps.engine.frequency import MOST, Frequency


@given(st.lists(st.integers(0, 10**12), max_size=300))
def test_a_count_is_never_too_low_before_it_ages(flow_ids: list[int]) -> None:
    """Within one half-life and one row's width of packets, no flow is thought to have sent fewer than it did."""
    sketch, sent = Frequency(1024, 4.0), Counter[int]()
    for flow_id in flow_ids:
        sent[flow_id] += 1
        assert sketch.add(flow_id, 1.0) >= sent[flow_id]


def test_counts_stop_at_the_most() -> None:
    """A flow of very many packets stays at the largest count."""
    sketch = Frequency(65_536, 4.0)
    assert [sketch.add(7, 1.0) for _ in range(300)][-2:] == [MOST, MOST]


def test_counts_halve_with_time() -> None:
    """After a half-life a flow counts half, and one more for the packet that asks."""
    sketch = Frequency(1024, 4.0)
    for _ in range(20):
        sketch.add(7, 1.0)
    assert sketch.add(7, 5.5) == 11


def test_a_scan_does_not_lift_the_counts_of_others() -> None:
    """Of 200,000 flows of one packet through 1,024 places a row, none seems to have sent three."""
    sketch = Frequency(1024, 4.0)
    assert max(sketch.add(flow_id, flow_id / 100_000) for flow_id in range(200_000)) < 3


def test_what_the_nic_counted_is_remembered() -> None:
    """A flow whose entry had counted packets comes back with them."""
    sketch = Frequency(1024, 4.0)
    sketch.add(7, 1.0)
    sketch.raise_to(7, 40.7)
    sketch.raise_to(7, 3)
    assert sketch.add(7, 1.0) == 41

"""A dictionary in parts: each place has one, and they do not grow at the same time."""

from __future__ import annotations

from collections import Counter

from ryu_apps.control.parts import PLACES, in_parts


def test_parts_take_one_to_two_times_the_keys_of_the_smallest_evenly() -> None:
    """Of all parts a tenth holds the keys between each tenth of a doubling, so that few double at one time."""
    sizes = sorted(Counter(map(id, in_parts())).values())
    assert sum(sizes) == PLACES
    assert 1.8 < sizes[-1] / sizes[0] < 2.2
    for tenth in range(10):
        low, high = (sizes[0] * 2 ** (edge / 10) for edge in (tenth, tenth + 1))
        share = sum(low <= size < high for size in sizes) / len(sizes)
        assert 0.03 < share < 0.2, tenth

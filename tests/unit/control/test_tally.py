"""The tally: counts by vport and name, also those that rise together."""

from __future__ import annotations

from ryu_apps.control.tally import Tally


def test_counts_that_rise_together_are_told_one_by_one() -> None:
    """M28: one cell stands for several counts, a count named twice rises by two, and none is told twice."""
    tally = Tally()
    cell = tally.joint(("begun", 101), ("offloads", 101), ("offloads", 102), ("offloads", 102))
    cell[0] += 3
    tally.count("begun", 101)
    for _ in range(2):
        assert tally.of_vport(101) == {"begun": 4, "offloads": 3} and tally.of_vport(102) == {"offloads": 6}
        assert tally.total == {"begun": 4, "offloads": 9}
    cell[0] += 1
    assert tally.total == {"begun": 5, "offloads": 12}


def test_cells_that_somebody_keeps_count_on_for_the_next_vport() -> None:
    """M28: when a vport goes its counts are those of the host, and cells that are still held begin at 0."""
    tally = Tally()
    cell, joint = tally.cell("misses", 101), tally.joint(("begun", 101))
    cell[0], joint[0] = 5, 7
    tally.close(101, 1)
    assert tally.of_vport(101) == {} and tally.of_gone(1) == {"misses": 5, "begun": 7}
    cell[0] += 1
    joint[0] += 1
    assert tally.of_vport(101) == {"misses": 1, "begun": 1} and tally.total == {"misses": 6, "begun": 8}

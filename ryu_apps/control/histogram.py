"""How long misses took, counted in fixed buckets."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from math import inf
from typing import Final

BOUNDS_S: Final = (10e-6, 20e-6, 50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3, 100e-3)
"""Upper bounds of the buckets in seconds, each included in its bucket; one more bucket takes all that is longer."""


@dataclass(frozen=True, slots=True)
class Durations:
    """A histogram as it stood: how many durations fell into each bucket, the last one unbounded, and their sum."""

    counts: tuple[int, ...] = (0,) * (len(BOUNDS_S) + 1)
    sum_s: float = 0.0

    @property
    def count(self) -> int:
        """How many durations there were."""
        return sum(self.counts)

    def cumulative(self) -> list[tuple[float, int]]:
        """Return each bound in seconds, infinity last, with how many durations did not exceed it."""
        total, found = 0, []
        for bound_s, count in zip((*BOUNDS_S, inf), self.counts, strict=True):
            total += count
            found.append((bound_s, total))
        return found


class Histogram:
    """A list of counts, so that keeping it costs the miss path next to nothing."""

    __slots__ = ("_counts", "_sum_s")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self._sum_s = 0.0

    def observe(self, duration_s: float, times: int) -> None:
        """Count a duration as often as it was seen: all misses of a batch share that of the batch."""
        self._counts[bisect_left(BOUNDS_S, duration_s)] += times
        self._sum_s += duration_s * times

    def now(self) -> Durations:
        """Return the counts as they stand."""
        return Durations(tuple(self._counts), self._sum_s)

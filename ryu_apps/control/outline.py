"""What some rows of packed keys have at all, so that a sweep may leave out those of which none can meet a condition.

A zone map (Moerkotte, Small Materialized Aggregates, VLDB 1998): the bits that any key has, those that every key has,
and which ports occur.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import Any, NamedTuple

import numpy as np

from ryu_apps.model.match import FULL_RANGE, Condition


class Outline(NamedTuple):
    """Of keys of one family: bits of any key, bits of every key, and the values of the two lowest 16-bit words."""

    any_bits: int
    every_bits: int
    src: array[int]
    dst: array[int]

    def may_meet(self, condition: Condition) -> bool:
        """Return whether some key may meet a condition; False only when none does."""
        mask, value = condition.mask, condition.value
        if value & ~self.any_bits or self.every_bits & mask & ~value:
            return False
        return _has(self.src, mask >> 16, value >> 16, condition.l4_src) and _has(
            self.dst, mask, value, condition.l4_dst
        )


def _has(ports: array[int], mask: int, value: int, bounds: tuple[int, int]) -> bool:
    """Return whether a port lies within bounds, or is the value where the mask says that it must be."""
    if mask & 0xFFFF == 0xFFFF:
        low = high = value & 0xFFFF
    elif bounds == FULL_RANGE:
        return True
    else:
        low, high = bounds
    at = bisect_left(ports, low)
    return at < len(ports) and ports[at] <= high


def outline(words: Any) -> Outline:
    """Return the outline of keys, one or more, each a row of 64-bit words that ends with the key's lowest byte."""
    lowest = words.view(">u2")
    return Outline(
        int.from_bytes(np.bitwise_or.reduce(words, axis=0).tobytes(), "big"),
        int.from_bytes(np.bitwise_and.reduce(words, axis=0).tobytes(), "big"),
        _occurring(lowest[:, -2]),
        _occurring(lowest[:, -1]),
    )


def _occurring(ports: Any) -> array[int]:
    """Return the different values, ascending."""
    seen = np.zeros(1 << 16, dtype=bool)
    seen[ports] = True
    return array("H", np.flatnonzero(seen).astype("u2").tobytes())

"""One large dictionary as many small ones, so that it grows without a pause."""

from __future__ import annotations

from typing import Final, TypeVar

T = TypeVar("T")

# Growing a dictionary of a million connections takes 50 ms; growing one of so many parts takes 50 us.
_PARTS: Final = 509
PLACES: Final = 16381


def in_parts() -> tuple[dict[int, T], ...]:
    """Return the part of each of PLACES places: a key belongs to the place that is its remainder.

    From the first to the last, parts have one to two times as many places.
    Were all of one size, they would all double at about the same number of keys, which is a pause of 30 ms in pieces.
    """
    bounds = [PLACES * (2 ** ((number + 1) / _PARTS) - 1) for number in range(_PARTS)]
    places: list[dict[int, T]] = []
    for bound in bounds:
        places += [{}] * (round(bound) - len(places))
    return tuple(places)

"""Long work in pieces, so that others get their turn in between."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

T = TypeVar("T")

Pause = Callable[[], None]
"""Lets others have their turn; what was read before may have changed when it returns."""

# A rule is parsed, checked or compiled in some 20 us, so that nobody waits for longer than a few milliseconds.
AT_ONCE: Final = 100


def no_pause() -> None:
    """Return at once: nobody waits for a turn."""


def in_turns(items: Iterable[T], pause: Pause) -> Iterator[T]:
    """Yield all items, with a pause behind every AT_ONCE of them."""
    for number, item in enumerate(items, start=1):
        yield item
        if not number % AT_ONCE:
            pause()

"""What a NIC can hold and do, as declared for its host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, get_args

from ryu_apps.model.action import Action
from ryu_apps.model.rules import Direction

# Every NIC forwards and drops, so that only what goes beyond can be lacking.
ACTION_NAMES: Final = tuple(kind.name for kind in get_args(Action))


@dataclass(frozen=True, slots=True, kw_only=True)
class NicLimits:
    """Room in each cache, in entries; the names of the actions that are supported, and meters; None is no limit.

    uplink_kbps is the most that may leave by the uplink, in kbit/s of whole frames.
    """

    outbound_entries: int | None = None
    inbound_entries: int | None = None
    actions: frozenset[str] | None = None
    meters: int | None = None
    uplink_kbps: int | None = None

    def entries(self, direction: Direction) -> int | None:
        """Return how many entries the cache of one direction takes, None for any number."""
        return self.outbound_entries if direction is Direction.OUTBOUND else self.inbound_entries

    def lacks(self, needs: frozenset[str]) -> str | None:
        """Return the name of an action that is needed and not supported, None when there is none."""
        return None if self.actions is None else min(needs - self.actions, default=None)


UNLIMITED: Final = NicLimits()

"""What a switch has against what it must have: install what is missing, remove what is stale, never wipe."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ryu_apps.control.change import SLICE_ENTRIES
from ryu_apps.control.effects import SwitchChange
from ryu_apps.control.events import PresentEntry
from ryu_apps.pipeline.cached import CACHED_PRIORITY, FIN_HARD_TIMEOUT_S, CachedEntry
from ryu_apps.pipeline.cookie import DETAIL_MASK, EntryClass, unpack
from ryu_apps.pipeline.entry import FlowEntry
from ryu_apps.pipeline.tables import NUMBER
from ryu_apps.southbound.reported import wire

WireKey = tuple[int, int, bytes]


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a switch differs from what it must have, and how many of its entries are none of ours."""

    changes: tuple[SwitchChange, ...]
    kept: int
    foreign: tuple[PresentEntry, ...]

def compare(
    dpid: int, present: Iterable[PresentEntry], wanted: Iterable[FlowEntry | CachedEntry]
) -> Comparison:
    """Return what makes a switch agree, in slices; entries without our mark are reported and left alone."""
    foreign: list[PresentEntry] = []
    ours: dict[WireKey, PresentEntry] = {}
    for entry in present:
        cookie = unpack(entry.cookie)
        if cookie is None:
            foreign.append(entry)
        elif cookie.entry_class is not EntryClass.LEARNED:  # These go with the entry that has written them.
            ours[entry.table, entry.priority, entry.match] = entry
    added: list[FlowEntry | CachedEntry] = []
    kept = 0
    for want in wanted:
        match, instructions = wire(want)
        found = ours.pop((_table(want), _priority(want), match), None)
        if found is not None and _agrees(found, want, instructions):
            kept += 1
        else:
            added.append(want)
    change = SwitchChange(dpid=dpid, removed=tuple(ours.values()), added=tuple(added))
    return Comparison(tuple(change.sliced(SLICE_ENTRIES)), kept, tuple(foreign))


def _table(entry: FlowEntry | CachedEntry) -> int:
    return NUMBER[entry.direction.value if isinstance(entry, CachedEntry) else entry.table]


def _priority(entry: FlowEntry | CachedEntry) -> int:
    return CACHED_PRIORITY if isinstance(entry, CachedEntry) else entry.priority


def _agrees(found: PresentEntry, want: FlowEntry | CachedEntry, instructions: bytes) -> bool:
    """Return whether an entry does what it must and belongs to whom it must; its generation may be older."""
    # One that a FIN has passed goes by itself, soon.
    going = isinstance(want, CachedEntry) and found.hard_timeout_s == FIN_HARD_TIMEOUT_S
    same_use = found.instructions == instructions and (going or found.idle_timeout_s == want.idle_timeout_s)
    if isinstance(want, CachedEntry):
        return same_use and not (found.cookie ^ want.cookie) & DETAIL_MASK
    return same_use and found.cookie == want.cookie

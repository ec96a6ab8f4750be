"""What the core wants done; the shells carry it out in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ryu_apps.control.events import PresentEntry
from ryu_apps.pipeline.cached import CachedEntry
from ryu_apps.pipeline.entry import FlowEntry, SetField


class Install(NamedTuple):
    """Add one cached entry; replaces an equal match."""

    dpid: int
    entry: CachedEntry


class Release(NamedTuple):
    """Remove one cached entry, if the switch still has it."""

    dpid: int
    entry: CachedEntry


class Emit(NamedTuple):
    """Send a packet on from a table of the pipeline, with the registers set as given and the edits made.

    The switch makes the edits, so that they come out as those of its entries do.
    """

    dpid: int
    table: str
    in_port: int
    segment: int
    sender: int
    receiver: int
    frame: bytes
    edits: tuple[SetField, ...] = ()


class CountEntry(NamedTuple):
    """Ask how many packets the entry with exactly this cookie has seen; the answer comes as an EntryCounted."""

    dpid: int
    cookie: int


class CountCache(NamedTuple):
    """Ask for the packet counts of a table's entries whose cookie agrees under the mask; answer: a CacheCounted."""

    dpid: int
    table: str
    cookie: int
    cookie_mask: int


Effect = Install | Release | Emit | CountEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchChange:
    """What one switch must change as one: entries removed (by table, priority and match) and entries added."""

    dpid: int
    removed: tuple[FlowEntry | CachedEntry | PresentEntry, ...] = ()
    added: tuple[FlowEntry | CachedEntry, ...] = ()

    def sliced(self, most: int) -> Iterator[SwitchChange]:
        """Yield this change in pieces of at most so many entries each way; nothing for an empty one."""
        for start in range(0, max(len(self.removed), len(self.added)), most):
            stop = start + most
            yield SwitchChange(dpid=self.dpid, removed=self.removed[start:stop], added=self.added[start:stop])


def merged(changes: Iterable[SwitchChange]) -> SwitchChange:
    """Return changes of one switch as one."""
    changes = tuple(changes)
    return SwitchChange(
        dpid=changes[0].dpid,
        removed=tuple(entry for change in changes for entry in change.removed),
        added=tuple(entry for change in changes for entry in change.added),
    )

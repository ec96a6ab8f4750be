"""What the core wants done; the shells carry it out in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from ryu_apps.control.events import PresentEntry
from ryu_apps.pipeline.cached import CachedEntry
from ryu_apps.pipeline.entry import EntryAction, FlowEntry
from ryu_apps.pipeline.meters import MeterConfig


class Install(NamedTuple):
    """Add one cached entry; replaces an equal match."""

    dpid: int
    entry: CachedEntry


class Release(NamedTuple):
    """Remove one cached entry, if the switch still has it."""

    dpid: int
    entry: CachedEntry


class Choke(NamedTuple):
    """Add an entry that drops a vport's new connections for a moment, and goes by itself."""

    dpid: int
    entry: FlowEntry


class Add(NamedTuple):
    """Add one entry of a connection that is in no cache; it stays until it is removed."""

    dpid: int
    entry: FlowEntry


class Remove(NamedTuple):
    """Remove such an entry."""

    dpid: int
    entry: FlowEntry


class PutMeter(NamedTuple):
    """Make or alter the meter of one connection, by flow id, at a vport, by number; with a new one comes its entry."""

    dpid: int
    vport: int
    connection: int
    config: MeterConfig
    altered: bool = False


class DropMeter(NamedTuple):
    """Remove the meter of a connection, by number; the switch removes its entry too."""

    dpid: int
    number: int


class Emit(NamedTuple):
    """Send a packet on from a table of the pipeline, with the registers set as given and actions carried out.

    The switch carries them out, so that they come out as those of its entries do.
    """

    dpid: int
    table: str
    in_port: int
    segment: int
    sender: int
    receiver: int
    frame: bytes
    actions: tuple[EntryAction, ...] = ()


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


Effect = Install | Release | Choke | Add | Remove | PutMeter | DropMeter | Emit | CountEntry


class MeterChange(NamedTuple):
    """Meters that a switch must get, change, and lose (by number)."""

    put: tuple[MeterConfig, ...] = ()
    altered: tuple[MeterConfig, ...] = ()
    gone: tuple[int, ...] = ()


NO_METERS: Final = MeterChange()


def meter_change(present: Mapping[int, MeterConfig | None], wanted: Mapping[int, MeterConfig]) -> MeterChange:
    """Return what turns the meters of a switch into those that it must have."""
    return MeterChange(
        tuple(config for number, config in wanted.items() if number not in present),
        tuple(config for number, config in wanted.items() if present.get(number, config) != config),
        tuple(number for number in present if number not in wanted),
    )


AnyEntry = FlowEntry | CachedEntry | PresentEntry
"""An entry as it is wanted, standing or of a connection, or as a switch has reported it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchChange:
    """What one switch must change as one: entries removed (by table, priority and match) and entries added.

    Its meters are changed one by one: OpenFlow has no place for them in a bundle.
    """

    dpid: int
    removed: tuple[AnyEntry, ...] = ()
    added: tuple[FlowEntry | CachedEntry, ...] = ()
    meters: MeterChange = NO_METERS

    def sliced(self, most: int) -> Iterator[SwitchChange]:
        """Yield this change in pieces of at most so many entries each way; nothing for an empty one.

        Meters come before the first entries that name them, and go after the last.
        """
        if self.meters.put or self.meters.altered:
            yield SwitchChange(dpid=self.dpid, meters=self.meters._replace(gone=()))
        for start in range(0, max(len(self.removed), len(self.added)), most):
            stop = start + most
            yield SwitchChange(dpid=self.dpid, removed=self.removed[start:stop], added=self.added[start:stop])
        if self.meters.gone:
            yield SwitchChange(dpid=self.dpid, meters=MeterChange(gone=self.meters.gone))


def merged(changes: Iterable[SwitchChange]) -> SwitchChange:
    """Return changes of one switch as one."""
    changes = tuple(changes)
    return SwitchChange(
        dpid=changes[0].dpid,
        removed=tuple(entry for change in changes for entry in change.removed),
        added=tuple(entry for change in changes for entry in change.added),
        meters=MeterChange(
            tuple(meter for change in changes for meter in change.meters.put),
            tuple(meter for change in changes for meter in change.meters.altered),
            tuple(meter for change in changes for meter in change.meters.gone),
        ),
    )

"""What a limited NIC is to keep of the entries that it was found to have, and what it would lose under new limits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from ryu_apps.control.course import course_of
from ryu_apps.control.events import PresentEntry
from ryu_apps.control.flow_table import FlowTable
from ryu_apps.control.unified_flow import UnifiedFlow
from ryu_apps.engine.nic_cache import NicCache
from ryu_apps.engine.policy import Policy
from ryu_apps.model.rules import Direction
from ryu_apps.pipeline.cached import CachedEntry
from ryu_apps.pipeline.cookie import CACHED, DETAIL_MASK, VPORT_MASK, unpack
from ryu_apps.pipeline.tables import NUMBER

# An entry of a cache is known by the part of its cookie that stays the same from generation to generation.
ID_MASK: Final = VPORT_MASK | DETAIL_MASK
DIRECTIONS: Final = {NUMBER[direction.value]: direction for direction in Direction}

Cache = tuple[int, Direction]


class Known(NamedTuple):
    """A cached entry that a switch has, of a flow that the host knows."""

    entry: PresentEntry
    flow: UnifiedFlow

    @property
    def vport(self) -> int:
        """The number of the vport that the entry is for."""
        return self.entry.cookie >> 28 & 0xFFF

    @property
    def direction(self) -> Direction:
        """The cache that it is in."""
        return DIRECTIONS[self.entry.table]


def known_entries(flows: FlowTable, present: Iterable[PresentEntry]) -> list[Known]:
    """Return the cached entries of known flows, the busiest first."""
    found = []
    for entry in present:
        cookie = unpack(entry.cookie)
        if cookie is None or cookie.entry_class not in CACHED or entry.table not in DIRECTIONS:
            continue
        flow = flows.get(cookie.detail)
        if flow is not None:
            found.append(Known(entry, flow))
    return sorted(found, key=lambda known: -known.entry.packets)


def fill(
    caches: Mapping[Direction, NicCache],
    known: Iterable[Known],
    stays_out: Callable[[UnifiedFlow], bool],
    now_s: float,
) -> Iterator[tuple[Direction, int]]:
    """Take the entries of a switch into its caches; yield the cache and id of each that has no room there."""
    for each in known:
        cache, flow, place = caches.get(each.direction), each.flow, (each.vport, each.direction)
        legs = (*flow.plan.forward, *flow.plan.reply)
        wanted = any((leg.vport, leg.direction) == place for leg in legs)
        if cache is None or not wanted or stays_out(flow):
            continue
        entry_id = each.entry.cookie & ID_MASK
        yield from ((each.direction, gone) for gone in cache.found(entry_id, each.vport, 0, now_s))
        cache.counted(entry_id, each.entry.packets, now_s)


def capacities(policy: Policy) -> dict[Cache, int]:
    """Return the room of every cache that has a limit."""
    return {
        (host.dpid, direction): capacity
        for host in policy.snapshot.hosts.values()
        for direction in Direction
        if (capacity := host.limits.entries(direction)) is not None
    }


def foresee(
    flows: FlowTable,
    caches: Mapping[Cache, NicCache],
    after: Policy,
    present: Mapping[int, Iterable[PresentEntry]],
    now_s: float,
) -> Iterator[tuple[int, CachedEntry]]:
    """Yield what each datapath would lose under the limits of a policy to come; nothing is changed.

    present: what those have whose caches had no limit so far, by datapath.
    """

    def stays_out(flow: UnifiedFlow) -> bool:
        return course_of(after, (flow.plan,)).kept is not None

    limited = capacities(after)
    for (dpid, direction), capacity in limited.items():
        cache = caches.get((dpid, direction))
        if cache is not None:
            yield from _entries(flows, dpid, ((direction, gone) for gone in cache.leaving(capacity)))
        elif dpid in present:
            fresh = {direction: NicCache(capacity)}
            gone = fill(fresh, known_entries(flows, present[dpid]), stays_out, now_s)
            yield from _entries(flows, dpid, gone)


def _entries(
    flows: FlowTable, dpid: int, gone: Iterable[tuple[Direction, int]]
) -> Iterator[tuple[int, CachedEntry]]:
    for direction, entry_id in gone:
        flow, vport = flows.get(entry_id & DETAIL_MASK), entry_id >> 28
        for made in flow.entries() if flow is not None else ():
            if (made.vport, made.direction) == (vport, direction):
                yield dpid, made

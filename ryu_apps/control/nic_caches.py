"""The caches of NICs that have limits, and which entries of the host's flows are in them.

The host knows every connection; a NIC has the entries that `engine.nic_cache` lets in.
Without limits and wishes of rules nothing is kept here, and every entry is in its NIC.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from ryu_apps.control.course import Course, Reason, course_of, limits_at
from ryu_apps.control.effects import CountCache
from ryu_apps.control.events import CacheCounted
from ryu_apps.control.flow_table import FlowTable
from ryu_apps.control.recounting import ID_MASK, Cache, capacities
from ryu_apps.control.unified_flow import UnifiedFlow
from ryu_apps.engine.connection import Plan
from ryu_apps.engine.nic_cache import NicCache
from ryu_apps.engine.policy import Policy
from ryu_apps.model.rules import Direction
from ryu_apps.pipeline.cached import CachedEntry
from ryu_apps.pipeline.cookie import CACHED, MARK, MARK_MASK

# A switch is asked for the counters of so many entries at once; misses wait meanwhile.
COUNTED_AT_ONCE: Final = 4096


class NicCaches:
    """The caches that have a limit, and what is in them under the policy in force, or another where one is given."""

    def __init__(self, policy: Policy, flows: FlowTable) -> None:
        """Keep the host's flow table, which the core shares."""
        self._flows = flows
        self._caches: dict[Cache, NicCache] = {}
        self.policy = policy

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self._policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        """Put another policy in force; `Offload.shrink` and `Offload.recount` say what must go under smaller limits."""
        self._policy = policy
        limited = capacities(policy)
        known = self._caches
        self._caches = {place: known[place] if place in known else NicCache(limited[place]) for place in limited}

    @property
    def by_place(self) -> Mapping[Cache, NicCache]:
        """The caches that have a limit, by datapath and direction."""
        return self._caches

    def at_datapath(self, dpid: int) -> dict[Direction, NicCache]:
        """Return the limited caches of a datapath."""
        return {direction: cache for (place, direction), cache in self._caches.items() if place == dpid}

    def at_vport(self, vport: int, direction: Direction) -> NicCache | None:
        """Return the cache that entries of a vport, by number, are in; None where it has no limit."""
        return self._caches.get((self._policy.dpids.get(vport, 0), direction))

    def room(self, dpid: int) -> dict[str, int]:
        """Return how many entries are in each limited cache of a datapath."""
        return {direction.value: len(cache) for direction, cache in self.at_datapath(dpid).items()}

    # -- one flow ------------------------------------------------------------------------------------------------------

    def course(self, flow: UnifiedFlow, policy: Policy | None = None) -> Course:
        """Return whether a flow may be offloaded, under the policy in force or another."""
        course = course_of(policy or self._policy, self._plans(flow))
        return course._replace(kept=Reason.NO_METER) if flow.lacks_meter and course.kept is None else course

    def lets_in(self, flow: UnifiedFlow, vport: int, direction: Direction, policy: Policy | None = None) -> bool:
        """Return whether a leg's cache has no limit, or has taken its entry in."""
        policy = policy or self._policy
        if limits_at(policy, vport).entries(direction) is None:
            return True
        # Under a policy that is no more or not yet in force, a cache may be limited that is not kept: all may be there.
        cache = self._caches.get((policy.dpids[vport], direction))
        return cache is None or entry_id(flow, vport) in cache

    def holds(self, flow: UnifiedFlow, vport: int, direction: Direction) -> bool:
        """Return whether the entry of a flow's leg is in its NIC, or is to be there."""
        return self.course(flow).kept is None and self.lets_in(flow, vport, direction)

    def entries(self, flow: UnifiedFlow, policy: Policy | None = None) -> Iterator[CachedEntry]:
        """Yield the entries of a flow that are in the NICs, or are to be there."""
        if self.course(flow, policy).kept is None:
            for made in flow.entries():
                if self.lets_in(flow, made.vport, made.direction, policy):
                    yield made

    def free(self, old: UnifiedFlow, new: UnifiedFlow | None, before: Policy) -> None:
        """Give back the room of a flow's entries that its successor has none in place of; before was their policy."""
        if not self._caches:
            return
        goes_on = new is not None and self.course(new).kept is None
        kept = set(_places(new, self._policy)) if new is not None and goes_on else set()
        for dpid, direction, entry in _places(old, before):
            if (dpid, direction, entry) not in kept and (dpid, direction) in self._caches:
                self._caches[dpid, direction].removed(entry)

    def _plans(self, flow: UnifiedFlow) -> tuple[Plan, ...]:
        parent = self._flows.get(flow.parent) if flow.parent else None
        return (flow.plan,) if parent is None else (flow.plan, parent.plan)

    # -- all entries ---------------------------------------------------------------------------------------------------

    def questions(self) -> list[CountCache]:
        """Return what to ask the switches about the use of their caches, in slices that do not keep misses long."""
        asked: list[CountCache] = []
        for (dpid, direction), cache in self._caches.items():
            slices = 1 << (max(len(cache) - 1, 0) // COUNTED_AT_ONCE).bit_length()
            for number in range(slices if len(cache) else 0):
                asked.append(CountCache(dpid, direction.value, MARK << 56 | number, MARK_MASK | slices - 1))
        return asked

    def counted(self, event: CacheCounted, now_s: float) -> None:
        """Take note of how many packets the entries of a cache have counted."""
        cache = self._caches.get((event.dpid, Direction(event.table)))
        if cache is None:
            return
        for cookie, packets in event.counts:
            if cookie >> 52 & 0xF in CACHED:
                cache.counted(cookie & ID_MASK, packets, now_s)

    def tidy(self) -> None:
        """Forget vports that are at a datapath no longer, once it has lost their entries."""
        for (dpid, _), cache in self._caches.items():
            for vport in cache.vports():
                if self._policy.dpids.get(vport) != dpid:
                    cache.vport_removed(vport)


def entry_id(flow: UnifiedFlow, vport: int) -> int:
    """Return by which id the entry of a flow at a vport, by number, is known in its cache."""
    return vport << 28 | flow.id


def _places(flow: UnifiedFlow, policy: Policy) -> Iterator[tuple[int, Direction, int]]:
    """Yield the datapath and direction of the cache of every leg, and the entry's id there."""
    for leg in (*flow.plan.forward, *flow.plan.reply):
        yield policy.dpids.get(leg.vport, 0), leg.direction, entry_id(flow, leg.vport)

"""Which entries are in which NIC, where NICs have limits: the host's flow table above, the caches below.

The host knows every connection; a NIC has the entries that `engine.nic_cache` lets in. What a NIC lacks misses, is
found in the host's table without asking a rule, goes on behind the cache, and is offered to the NIC again.
Without limits and wishes of rules nothing is kept here, and every entry is in its NIC.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from ryu_apps.control.course import Course, Reason, course_of, limits_at
from ryu_apps.control.effects import CountCache, Effect, Release
from ryu_apps.control.events import CacheCounted, FlowRemoved, PresentEntry
from ryu_apps.control.expiry import DELETE, EVICTION
from ryu_apps.control.flow_table import FlowTable
from ryu_apps.control.holding import Held, Holding
from ryu_apps.control.recounting import ID_MASK, Cache, capacities, fill, known_entries
from ryu_apps.control.stays import Stays
from ryu_apps.control.tally import Tally
from ryu_apps.control.unified_flow import UnifiedFlow
from ryu_apps.engine.connection import Leg, Plan
from ryu_apps.engine.nic_cache import NicCache
from ryu_apps.engine.policy import Policy
from ryu_apps.model.rules import Direction
from ryu_apps.pipeline.cached import CachedEntry
from ryu_apps.pipeline.cookie import (
    CACHED,
    DETAIL_MASK,
    MARK,
    MARK_MASK,
    Cookie,
    EntryClass,
    unpack,
)

# A switch is asked for the counters of so many entries at once; misses wait meanwhile.
COUNTED_AT_ONCE: Final = 4096
# A switch tells of a removal within milliseconds; what it has not told by then it never had.
_TOLD_S: Final = 60.0



class Whereabouts(NamedTuple):
    """Whether a NIC handles the packets of a leg, and why; lacks names the action that it does not support."""

    nic: bool
    reason: Reason
    lacks: str | None = None


class Offload:
    """The caches that have a limit, by datapath and direction, and the flows that they do not hold all entries of."""

    def __init__(
        self,
        policy: Policy,
        flows: FlowTable,
        holding: Holding,
        tally: Tally,
        dpid_of: Callable[[int], int | None],
    ) -> None:
        """Keep what is shared with the core; dpid_of returns the connected datapath that a vport is on."""
        self._flows = flows
        self._holding = holding
        self._tally = tally
        self._dpid_of = dpid_of
        self._caches: dict[Cache, NicCache] = {}
        self._stays = Stays()
        # Entries that are on their way out of a switch to make room, by datapath and cookie.
        self._leaving: dict[tuple[int, int], tuple[Direction, float]] = {}
        self.policy = policy

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self._policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        """Put another policy in force; `shrink` and `recount` say what must go under smaller limits."""
        self._policy = policy
        limited = capacities(policy)
        known = self._caches
        self._caches = {place: known[place] if place in known else NicCache(limited[place]) for place in limited}

    def room(self, dpid: int) -> dict[str, int]:
        """Return how many entries are in each limited cache of a datapath."""
        return {way.value: len(cache) for (place, way), cache in self._caches.items() if place == dpid}

    @property
    def caches(self) -> Mapping[Cache, NicCache]:
        """The caches that have a limit."""
        return self._caches

    # -- one flow ------------------------------------------------------------------------------------------------------

    def steers(self, flow: UnifiedFlow) -> bool:
        """Return whether it is to be asked which entries of a flow are in the NICs; else all are."""
        if flow.id in self._stays:
            return True
        legs = (*flow.plan.forward, *flow.plan.reply)
        if self._caches and any(self._cache_of(leg.vport, leg.direction) is not None for leg in legs):
            return True
        return self.course(flow).kept is not None

    def course(self, flow: UnifiedFlow, policy: Policy | None = None) -> Course:
        """Return whether a flow may be offloaded, under the policy in force or another."""
        course = course_of(policy or self._policy, self._plans(flow))
        return course._replace(kept=Reason.NO_METER) if flow.lacks_meter and course.kept is None else course

    def holds(self, flow: UnifiedFlow, vport: int, direction: Direction, policy: Policy | None = None) -> bool:
        """Return whether the entry of a flow's leg is in its NIC, or is to be there."""
        policy = policy or self._policy
        return self.course(flow, policy).kept is None and self._lets_in(flow, vport, direction, policy)

    def entries(self, flow: UnifiedFlow, policy: Policy | None = None) -> Iterator[CachedEntry]:
        """Yield the entries of a flow that are in the NICs, or are to be there."""
        policy = policy or self._policy
        if self.course(flow, policy).kept is None:
            for made in flow.entries():
                if self._lets_in(flow, made.vport, made.direction, policy):
                    yield made

    def begin(self, flow: UnifiedFlow, missed: Held, now_s: float) -> list[Effect]:
        """Ask the NICs for a new flow's entries; return what must go for them.

        A full NIC is asked only for the entry that has missed, and for the others when they do.
        """
        course = self.course(flow)
        effects: list[Effect] = []
        for leg in (*flow.plan.forward, *flow.plan.reply) if course.kept is None else ():
            cache = self._cache_of(leg.vport, leg.direction)
            here = (leg.vport, leg.direction) == missed[1:]
            if cache is not None and (here or course.demanded or cache.has_room):
                effects += self._ask(flow, leg.vport, leg.direction, now_s, demanded=course.demanded)
        self._settle(flow, course, now_s)
        # What made room for another entry of the same flow is not in the switch yet.
        return [effect for effect in effects if not (isinstance(effect, Release) and _is_of(effect.entry, flow))]

    def missed(self, flow: UnifiedFlow, leg: Held, now_s: float) -> list[Effect]:
        """Offer the entry of a leg to its NIC again, of which a packet has missed; return what must go for it."""
        course = self.course(flow)
        effects: list[Effect] = []
        if course.kept is None:
            effects = self._ask(flow, leg.vport, leg.direction, now_s, demanded=course.demanded)
        self._settle(flow, course, now_s)
        return effects

    def settle(self, flow: UnifiedFlow, now_s: float) -> None:
        """Have a flow age in the host while some entry of it is in no NIC; called when the host sees it."""
        self._settle(flow, self.course(flow), now_s)

    def _settle(self, flow: UnifiedFlow, course: Course, now_s: float) -> None:
        policy, legs = self._policy, (*flow.plan.forward, *flow.plan.reply)
        if course.kept is None and all(self._lets_in(flow, leg.vport, leg.direction, policy) for leg in legs):
            self._stays.leave(flow.id)
        else:
            self._stays.seen(flow, now_s)

    def age_anew(self, flow: UnifiedFlow, now_s: float) -> None:
        """Have a flow that was just seen in use age anew, because the timeouts of its entries are others now."""
        if flow.id in self._stays:
            self._stays.leave(flow.id)
            self.settle(flow, now_s)

    def in_use(self, flow: UnifiedFlow, now_s: float) -> bool:
        """Return whether the host has lately forwarded packets of a flow or of a variant of it."""
        return any(self._stays.in_use(one.id, now_s) for one in (flow, *self._flows.variants(flow.id)))

    def forget(self, flow: UnifiedFlow) -> None:
        """Drop what is kept of a flow that has ended."""
        self._stays.leave(flow.id)
        self.free(flow, None, self._policy)

    def free(self, old: UnifiedFlow, new: UnifiedFlow | None, before: Policy) -> None:
        """Give back the room of a flow's entries that its successor has none in place of; before was their policy."""
        if not self._caches:
            return
        goes_on = new is not None and self.course(new).kept is None
        kept = set(_places(new, self._policy)) if new is not None and goes_on else set()
        for dpid, direction, entry in _places(old, before):
            if (dpid, direction, entry) not in kept and (dpid, direction) in self._caches:
                self._caches[dpid, direction].removed(entry)

    def where(self, flow: UnifiedFlow, leg: Leg) -> Whereabouts:
        """Return who handles the packets of a leg, and why."""
        course = self.course(flow)
        if course.kept is not None:
            return Whereabouts(False, course.kept, course.lacks)
        if self._dpid_of(leg.vport) is None:
            return Whereabouts(False, Reason.AWAY)
        if not self._lets_in(flow, leg.vport, leg.direction, self._policy):
            return Whereabouts(False, Reason.FULL)
        if Held(flow.id, leg.vport, leg.direction) in self._holding:
            return Whereabouts(False, Reason.HELD_BACK)
        return Whereabouts(True, Reason.RULE if course.demanded else Reason.AUTO)

    # -- what switches tell --------------------------------------------------------------------------------------------

    def left(self, event: FlowRemoved, now_s: float) -> bool:
        """Return whether an entry is gone because room was made: then its connection goes on, and its count is noted.

        The NIC may have made room itself; then the host takes note of it here, too.
        """
        if event.reason == EVICTION:
            self._evicted_by_nic(event, now_s)
            return False
        found = self._leaving.pop((event.dpid, event.cookie), None) if event.reason == DELETE else None
        if found is None:
            return False
        cache = self._caches.get((event.dpid, found[0]))
        if cache is not None:
            cache.counted(event.cookie & ID_MASK, event.packets, now_s)
        return True

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

    def recount(self, dpid: int, present: Iterable[PresentEntry], now_s: float) -> tuple[PresentEntry, ...]:
        """Take in what a switch was found to have; return the entries of known flows that it must not keep.

        The busiest come first, so that the idle ones are left out.
        """
        if not self.room(dpid) and not any(
            plan.metered or course_of(self._policy, (plan,)).kept for plan in self._flows.plans()
        ):
            return ()
        known = known_entries(self._flows, present)
        caches = {direction: cache for (place, direction), cache in self._caches.items() if place == dpid}
        for _, entry_id in fill(caches, known, lambda flow: self.course(flow).kept is not None, now_s):
            self._count_out((entry_id,))
        gone: list[PresentEntry] = []
        for each in known:
            self.settle(each.flow, now_s)
            if not self.holds(each.flow, each.vport, each.direction):
                self._leaving[dpid, each.entry.cookie] = each.direction, now_s
                gone.append(each.entry)
        return tuple(gone)

    # -- time and policy -----------------------------------------------------------------------------------------------

    def idle(self, now_s: float) -> list[UnifiedFlow]:
        """Return the flows that have ended: no packet of them came by the host, and no NIC has an entry of them."""
        self._leaving = {key: told for key, told in self._leaving.items() if now_s - told[1] < _TOLD_S}
        ended: list[UnifiedFlow] = []
        for flow_id, over in self._stays.idle(now_s):
            flow = self._flows.get(flow_id)
            if flow is None:
                self._stays.leave(flow_id)
            elif over or not (self.in_use(flow, now_s) or any(True for _ in self.entries(flow))):
                ended.append(flow)
        return ended

    def shrink(self, now_s: float) -> list[Release]:
        """Bring the caches to the room that the policy in force gives them; return what must go."""
        effects: list[Release] = []
        for (dpid, direction), capacity in capacities(self._policy).items():
            cache = self._caches[dpid, direction]
            if cache.capacity != capacity:
                effects += self._evict(dpid, direction, cache.resized(capacity, now_s), now_s)
        return effects

    def tidy(self) -> None:
        """Forget vports that are at a datapath no longer, once it has lost their entries."""
        for (dpid, _), cache in self._caches.items():
            for vport in cache.vports():
                if self._policy.dpids.get(vport) != dpid:
                    cache.vport_removed(vport)

    def changes(self, flow: UnifiedFlow, before: Policy, after: Policy) -> bool:
        """Return whether a change of policy alters which entries of a flow may be in the NICs, its verdict apart."""
        if self.course(flow, before).kept is not self.course(flow, after).kept:
            return True
        if flow.id not in self._stays:
            return False
        return any(
            limits_at(before, leg.vport).entries(leg.direction) is not None
            and limits_at(after, leg.vport).entries(leg.direction) is None
            for leg in (*flow.plan.forward, *flow.plan.reply)
        )

    # ------------------------------------------------------------------------------------------------------------------

    def _cache_of(self, vport: int, direction: Direction) -> NicCache | None:
        return self._caches.get((self._policy.dpids.get(vport, 0), direction))

    def _plans(self, flow: UnifiedFlow) -> tuple[Plan, ...]:
        parent = self._flows.get(flow.parent) if flow.parent else None
        return (flow.plan,) if parent is None else (flow.plan, parent.plan)

    def _lets_in(self, flow: UnifiedFlow, vport: int, direction: Direction, policy: Policy) -> bool:
        """Return whether a leg's cache has no limit, or has taken its entry in."""
        if limits_at(policy, vport).entries(direction) is None:
            return True
        # Under a policy that is no more or not yet in force, a cache may be limited that is not kept: all may be there.
        cache = self._caches.get((policy.dpids[vport], direction))
        return cache is None or _entry_id(flow, vport) in cache

    def _ask(
        self, flow: UnifiedFlow, vport: int, direction: Direction, now_s: float, *, demanded: bool
    ) -> list[Effect]:
        dpid, cache = self._dpid_of(vport), self._cache_of(vport, direction)
        if dpid is None or cache is None:
            return []
        decision = cache.missed(_entry_id(flow, vport), vport, now_s, demanded=demanded)
        if not decision.install:
            self._tally.count("nic-refusals", vport)
        return [*self._evict(dpid, direction, decision.remove, now_s)]

    def _evict(self, dpid: int, direction: Direction, entries: Iterable[int], now_s: float) -> Iterator[Release]:
        """Yield the removal of entries from a switch; none of them is held back any more."""
        for entry in self._count_out(entries):
            flow, vport = self._flows.get(entry & DETAIL_MASK), entry >> 28
            if flow is None:
                continue
            self._stays.seen(flow, now_s)
            if self._holding.drop(Held(flow.id, vport, direction)):
                self._caches[dpid, direction].counted(entry, 0, now_s)
            # Also one that was held back: a policy change may have installed it meanwhile.
            for made in flow.entries():
                if (made.vport, made.direction) == (vport, direction):
                    self._leaving[dpid, made.cookie] = direction, now_s
                    yield Release(dpid, made)

    def _count_out(self, entries: Iterable[int]) -> tuple[int, ...]:
        entries = tuple(entries)
        for entry in entries:
            self._tally.count("nic-evictions", entry >> 28)
        return entries

    def _evicted_by_nic(self, event: FlowRemoved, now_s: float) -> None:
        cookie = unpack(event.cookie)
        flow = self._flows.get(cookie.detail) if cookie else None
        if flow is None or cookie is None:
            return
        self._tally.count("nic-evictions", cookie.vport)
        self._gone(flow, cookie, event, now_s)

    def let_go(self, event: FlowRemoved, now_s: float) -> None:
        """Take note that a NIC has let an entry go whose connection is still known."""
        cookie = unpack(event.cookie)
        flow = self._flows.get(cookie.detail) if self._caches and cookie else None
        if flow is not None and cookie is not None:
            self._gone(flow, cookie, event, now_s)

    def _gone(self, flow: UnifiedFlow, cookie: Cookie, event: FlowRemoved, now_s: float) -> None:
        way = flow.plan.reply if cookie.entry_class is EntryClass.REPLY else flow.plan.forward
        for leg in way:
            cache = self._cache_of(leg.vport, leg.direction)
            if leg.vport == cookie.vport and cache is not None:
                cache.removed(event.cookie & ID_MASK)
                self.settle(flow, now_s)


def _entry_id(flow: UnifiedFlow, vport: int) -> int:
    return vport << 28 | flow.id


def _places(flow: UnifiedFlow, policy: Policy) -> Iterator[tuple[int, Direction, int]]:
    """Yield the datapath and direction of the cache of every leg, and the entry's id there."""
    for leg in (*flow.plan.forward, *flow.plan.reply):
        yield policy.dpids.get(leg.vport, 0), leg.direction, _entry_id(flow, leg.vport)


def _is_of(made: CachedEntry, flow: UnifiedFlow) -> bool:
    return made.cookie & DETAIL_MASK == flow.id

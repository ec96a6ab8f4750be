"""What goes into NICs with limits and what leaves them, and the flows that are not in them as a whole.

What a NIC lacks misses, is found in the host's flow table without asking a rule, goes on behind the cache, and is
offered to the NIC again. While some entry of a flow is in no NIC, the flow ages in the host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from ryu_apps.control.course import Course, course_of, limits_at
from ryu_apps.control.effects import Effect, Release
from ryu_apps.control.events import FlowRemoved, PresentEntry
from ryu_apps.control.expiry import DELETE, EVICTION
from ryu_apps.control.flow_table import FlowTable
from ryu_apps.control.holding import Held, Holding
from ryu_apps.control.nic_caches import NicCaches, entry_id
from ryu_apps.control.recounting import ID_MASK, capacities, fill, known_entries
from ryu_apps.control.stays import Stays
from ryu_apps.control.tally import Tally
from ryu_apps.control.unified_flow import UnifiedFlow
from ryu_apps.engine.policy import Policy
from ryu_apps.model.rules import Direction
from ryu_apps.pipeline.cached import CachedEntry
from ryu_apps.pipeline.cookie import DETAIL_MASK, Cookie, EntryClass, unpack

# A switch tells of a removal within milliseconds; what it has not told by then it never had.
_TOLD_S: Final = 60.0


class Offload:
    """Asks the caches for room, has entries removed for others, and keeps flows of which some entry is in no NIC."""

    def __init__(
        self,
        caches: NicCaches,
        flows: FlowTable,
        holding: Holding,
        tally: Tally,
        dpid_of: Callable[[int], int | None],
    ) -> None:
        """Keep what is shared with the core; dpid_of returns the connected datapath that a vport is on."""
        self._caches = caches
        self._flows = flows
        self._holding = holding
        self._tally = tally
        self._dpid_of = dpid_of
        self._stays = Stays()
        # Entries that are on their way out of a switch to make room, by datapath and cookie.
        self._leaving: dict[tuple[int, int], tuple[Direction, float]] = {}

    # -- one flow ------------------------------------------------------------------------------------------------------

    def steers(self, flow: UnifiedFlow) -> bool:
        """Return whether it is to be asked which entries of a flow are in the NICs; else all are."""
        if flow.id in self._stays:
            return True
        legs = (*flow.plan.forward, *flow.plan.reply)
        if self._caches.by_place and any(self._caches.at_vport(leg.vport, leg.direction) is not None for leg in legs):
            return True
        return self._caches.course(flow).kept is not None

    def begin(self, flow: UnifiedFlow, missed: Held, now_s: float) -> list[Effect]:
        """Ask the NICs for a new flow's entries; return what must go for them.

        A full NIC is asked only for the entry that has missed, and for the others when they do.
        """
        course = self._caches.course(flow)
        effects: list[Effect] = []
        for leg in (*flow.plan.forward, *flow.plan.reply) if course.kept is None else ():
            cache = self._caches.at_vport(leg.vport, leg.direction)
            here = (leg.vport, leg.direction) == missed[1:]
            if cache is not None and (here or course.demanded or cache.has_room):
                effects += self._ask(flow, leg.vport, leg.direction, now_s, demanded=course.demanded)
        self._settle(flow, course, now_s)
        # What made room for another entry of the same flow is not in the switch yet.
        return [effect for effect in effects if not (isinstance(effect, Release) and _is_of(effect.entry, flow))]

    def missed(self, flow: UnifiedFlow, leg: Held, now_s: float) -> list[Effect]:
        """Offer the entry of a leg to its NIC again, of which a packet has missed; return what must go for it."""
        course = self._caches.course(flow)
        effects: list[Effect] = []
        if course.kept is None:
            effects = self._ask(flow, leg.vport, leg.direction, now_s, demanded=course.demanded)
        self._settle(flow, course, now_s)
        return effects

    def settle(self, flow: UnifiedFlow, now_s: float) -> None:
        """Have a flow age in the host while some entry of it is in no NIC; called when the host sees it."""
        self._settle(flow, self._caches.course(flow), now_s)

    def _settle(self, flow: UnifiedFlow, course: Course, now_s: float) -> None:
        legs = (*flow.plan.forward, *flow.plan.reply)
        if course.kept is None and all(self._caches.lets_in(flow, leg.vport, leg.direction) for leg in legs):
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
        self._caches.free(flow, None, self._caches.policy)

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
        cache = self._caches.by_place.get((event.dpid, found[0]))
        if cache is not None:
            cache.counted(event.cookie & ID_MASK, event.packets, now_s)
        return True

    def let_go(self, event: FlowRemoved, now_s: float) -> None:
        """Take note that a NIC has let an entry go whose connection is still known."""
        cookie = unpack(event.cookie)
        flow = self._flows.get(cookie.detail) if self._caches.by_place and cookie else None
        if flow is not None and cookie is not None:
            self._gone(flow, cookie, event, now_s)

    def recount(self, dpid: int, present: Iterable[PresentEntry], now_s: float) -> tuple[PresentEntry, ...]:
        """Take in what a switch was found to have; return the entries of known flows that it must not keep.

        The busiest come first, so that the idle ones are left out.
        """
        caches, policy = self._caches.at_datapath(dpid), self._caches.policy
        if not caches and not any(plan.metered or course_of(policy, (plan,)).kept for plan in self._flows.plans()):
            return ()
        known = known_entries(self._flows, present)
        for _, refused in fill(caches, known, lambda flow: self._caches.course(flow).kept is not None, now_s):
            self._count_out((refused,))
        gone: list[PresentEntry] = []
        for each in known:
            self.settle(each.flow, now_s)
            if not self._caches.holds(each.flow, each.vport, each.direction):
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
            elif over or not (self.in_use(flow, now_s) or any(True for _ in self._caches.entries(flow))):
                ended.append(flow)
        return ended

    def shrink(self, now_s: float) -> list[Release]:
        """Bring the caches to the room that the policy in force gives them; return what must go."""
        effects: list[Release] = []
        for (dpid, direction), capacity in capacities(self._caches.policy).items():
            cache = self._caches.by_place[dpid, direction]
            if cache.capacity != capacity:
                effects += self._evict(dpid, direction, cache.resized(capacity, now_s), now_s)
        return effects

    def changes(self, flow: UnifiedFlow, before: Policy, after: Policy) -> bool:
        """Return whether a change of policy alters which entries of a flow may be in the NICs, its verdict apart."""
        if self._caches.course(flow, before).kept is not self._caches.course(flow, after).kept:
            return True
        if flow.id not in self._stays:
            return False
        return any(
            limits_at(before, leg.vport).entries(leg.direction) is not None
            and limits_at(after, leg.vport).entries(leg.direction) is None
            for leg in (*flow.plan.forward, *flow.plan.reply)
        )

    # ------------------------------------------------------------------------------------------------------------------

    def _ask(
        self, flow: UnifiedFlow, vport: int, direction: Direction, now_s: float, *, demanded: bool
    ) -> list[Effect]:
        dpid, cache = self._dpid_of(vport), self._caches.at_vport(vport, direction)
        if dpid is None or cache is None:
            return []
        decision = cache.missed(entry_id(flow, vport), vport, now_s, demanded=demanded)
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
                self._caches.by_place[dpid, direction].counted(entry, 0, now_s)
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

    def _gone(self, flow: UnifiedFlow, cookie: Cookie, event: FlowRemoved, now_s: float) -> None:
        way = flow.plan.reply if cookie.entry_class is EntryClass.REPLY else flow.plan.forward
        for leg in way:
            cache = self._caches.at_vport(leg.vport, leg.direction)
            if leg.vport == cookie.vport and cache is not None:
                cache.removed(event.cookie & ID_MASK)
                self.settle(flow, now_s)


def _is_of(made: CachedEntry, flow: UnifiedFlow) -> bool:
    return made.cookie & DETAIL_MASK == flow.id

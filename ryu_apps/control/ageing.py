"""How connections end: with their entries, by closing, or because the host sees no more of them."""

from __future__ import annotations

from typing import Final

from ryu_apps.control.connections import Connections
from ryu_apps.control.effects import Effect
from ryu_apps.control.events import EntryCounted, FlowRemoved
from ryu_apps.control.expiry import IDLE_TIMEOUT, Ending, Expiry
from ryu_apps.control.flow_table import FlowTable
from ryu_apps.control.letting_go import ended_by_fin
from ryu_apps.control.nic_caches import NicCaches
from ryu_apps.control.offload import Offload
from ryu_apps.control.placement import Placement
from ryu_apps.control.tally import REMOVED, REMOVED_OTHERWISE, Tally
from ryu_apps.control.unified_flow import UnifiedFlow
from ryu_apps.pipeline.cached import is_tcp
from ryu_apps.pipeline.cookie import Cookie, EntryClass, Refusal, unpack

_IN_HOST_IDLE_S: Final = 60.0
_OTHER: Final = {EntryClass.FORWARD: EntryClass.REPLY, EntryClass.REPLY: EntryClass.FORWARD}


class Ageing:
    """Turns what switches tell of their entries, and the passing of time, into the ends of connections."""

    def __init__(
        self,
        flows: FlowTable,
        placement: Placement,
        caches: NicCaches,
        offload: Offload,
        life: Connections,
        expiry: Expiry,
        tally: Tally,
    ) -> None:
        """Keep what is shared with the core."""
        self._flows = flows
        self._placement = placement
        self._caches = caches
        self._offload = offload
        self._life = life
        self._expiry = expiry
        self._tally = tally
        # Flows that only fragments have made, with when they were last seen: no switch ages them.
        self._in_host: dict[int, float] = {}

    def flow_removed(self, event: FlowRemoved, now_s: float) -> list[Effect]:
        """Return what follows when a switch has removed a cached entry, or one that refused for a moment."""
        if self._offload.left(event, now_s):
            return []
        cookie = unpack(event.cookie)
        if cookie is not None and cookie.entry_class is EntryClass.GUARD:
            if cookie.detail == Refusal.HALF_OPEN_LIMIT and event.packets:
                self._tally.count("half-open-limit", cookie.vport, event.packets)
            return []
        if cookie is not None:
            self._tally.count(REMOVED.get(event.reason, REMOVED_OTHERWISE), cookie.vport)
        flow = self._flows.get(cookie.detail) if cookie else None
        if flow is not None and cookie is not None and ended_by_fin(event):
            self._let_go(flow, cookie, event, now_s)
            return []
        if flow is None or cookie is None or self._life.is_closed(flow.id):
            return []
        if flow.half_open and is_tcp(flow.key) and cookie.entry_class is EntryClass.REPLY and event.packets:
            self._life.answered(flow.id)
        if (
            flow.half_open
            and is_tcp(flow.key)
            and flow.plan.reply
            and event.reason == IDLE_TIMEOUT
            and not self._expiry.confirmed(flow.id, now_s)
        ):
            return self._half_open_idle(flow, cookie.entry_class, event.packets, now_s)
        ending = self._expiry.ending(flow.id, event.dpid, event.cookie, event.reason, now_s)
        if ending is Ending.NONE:
            return []
        if ending is Ending.RENEW:
            return self._install_again(flow)
        partner = self._placement.question(flow, _OTHER.get(cookie.entry_class))
        if ending is Ending.ASK and partner is not None:
            return [partner]
        return self._end_idle(flow, now_s) if ending is Ending.ASK else self.remove(flow)

    def entry_counted(self, event: EntryCounted, now_s: float) -> list[Effect]:
        """Return what follows from the packet count of the entry whose partner ran idle."""
        cookie = unpack(event.cookie)
        flow = self._flows.get(cookie.detail) if cookie else None
        if flow is None or cookie is None:
            return []
        half_open = flow.half_open and is_tcp(flow.key)
        if (half_open and self._life.replied(flow.id, event.packets)) or self._expiry.confirmed(flow.id, now_s):
            return []
        if half_open:
            return self._end_idle(flow, now_s)
        if event.packets is None or not self._expiry.advanced(flow.id, cookie.entry_class, event.packets, now_s):
            return self._end_idle(flow, now_s)
        if flow.half_open and cookie.entry_class is EntryClass.REPLY:
            # UDP that was answered. The entries of its answers stand, and keep the time when they were last in use.
            return self._placement.install(self._lasting(flow, event.packets, now_s) or flow, replies=False)
        return self._install_again(flow)

    def tick(self, now_s: float) -> list[Effect]:
        """Return what follows from time alone: flows that no switch holds end when they have been idle.

        Of connections that have been half open for too long to be so, the switch is asked.
        """
        idle = [flow_id for flow_id, seen_s in self._in_host.items() if now_s - seen_s > _IN_HOST_IDLE_S]
        effects: list[Effect] = []
        for flow in (*map(self._flows.get, idle), *self._offload.idle(now_s)):
            if flow is not None and self._flows.get(flow.id) is not None:  # A variant is gone with its connection.
                effects += self.remove(flow)
        self._flows.leases.pass_time(now_s, self._caches.policy.snapshot.nat_pools)
        for flow in self._life.doubtful(now_s):
            partner = self._placement.question(flow, EntryClass.REPLY)
            effects += [partner] if partner is not None else []
        return effects

    def close_due(self, now_s: float) -> list[Effect]:
        """Return the removal of the entries of connections that have closed; forget those that closed long ago.

        At most so many at once that misses do not wait for long.
        """
        effects: list[Effect] = []
        for flow_id in self._life.due(now_s):
            flow = self._flows.get(flow_id)
            if flow is not None:
                effects += self._placement.release(flow)
        for flow_id in self._life.over(now_s):
            flow = self._flows.get(flow_id)
            if flow is not None:
                effects += self._forget(flow)
            self._life.forget(flow_id)
        return effects

    def remove(self, flow: UnifiedFlow) -> list[Effect]:
        """Forget a connection with all its variants; return the removal of every entry it has."""
        return self._placement.release(flow) + self._forget(flow)

    def stays_in_host(self, flow: UnifiedFlow, now_s: float, *, begun: bool) -> None:
        """Note a fragment of a flow: while no whole packet has come, the flow is known to the host alone."""
        if begun or flow.id in self._in_host:
            self._in_host[flow.id] = now_s

    def leaves_host(self, flow: UnifiedFlow) -> None:
        """Note a whole packet of a flow, or that it is gone."""
        if self._in_host:
            self._in_host.pop(flow.id, None)

    def in_host(self, flow: UnifiedFlow) -> bool:
        """Return whether a flow is known to the host alone: only fragments of it have come, or it was closed."""
        return flow.id in self._in_host or self._life.is_closed(flow.parent or flow.id)

    def _half_open_idle(self, flow: UnifiedFlow, entry_class: EntryClass, packets: int, now_s: float) -> list[Effect]:
        """Return what follows when an entry with the short timeout ran idle: the reply's count tells which it is."""
        if entry_class is not EntryClass.REPLY:
            # Where no NIC has an entry for the replies, the host would have seen one.
            return [] if self._placement.question(flow, EntryClass.REPLY) else self._end_idle(flow, now_s)
        lasting = self._lasting(flow, packets, now_s)
        if lasting is None:
            return self.remove(flow)
        self._expiry.confirm(flow.id, now_s)
        return self._placement.install(lasting)

    def _lasting(self, flow: UnifiedFlow, replies: int, now_s: float) -> UnifiedFlow | None:
        """Return a flow as it is kept from now on because it was answered; None when nobody has."""
        lasting = self._life.lasting(flow, replies)
        if lasting is not None:
            self._offload.age_anew(lasting, now_s)
        return lasting

    def _end_idle(self, flow: UnifiedFlow, now_s: float) -> list[Effect]:
        """End a connection that no NIC has seen a packet of, unless the host has."""
        if not self._offload.in_use(flow, now_s):
            return self.remove(flow)
        self._expiry.confirm(flow.id, now_s)
        return self._install_again(flow)

    def _install_again(self, flow: UnifiedFlow) -> list[Effect]:
        self._life.returned(flow.id)
        return self._placement.install(flow)

    def _let_go(self, flow: UnifiedFlow, cookie: Cookie, event: FlowRemoved, now_s: float) -> None:
        """Take note of an entry that has gone by itself because a FIN has ended its direction."""
        self._offload.let_go(event, now_s)
        reply = cookie.entry_class is EntryClass.REPLY
        if flow.parent:
            begun, first = self._flows.get(flow.parent), flow.plan.forward[0]
            back = begun.plan.reply if begun is not None else ()
            reply = any((leg.vport, leg.direction) == (first.vport, first.direction) for leg in back)
        whole = flow.parent or flow.id
        self._life.let_go(whole, reply=reply, entries=self._flows.lone_entries(whole), now_s=now_s)

    def _forget(self, flow: UnifiedFlow) -> list[Effect]:
        """Forget a connection with all its variants; return the removal of what led replies to it."""
        for gone in (*self._flows.variants(flow.id), flow):
            self._offload.forget(gone)
            self._flows.remove(gone)
            self._expiry.forget(gone.id)
            self._life.forget(gone.id)
            self._in_host.pop(gone.id, None)
        return [*self._flows.meters.gone(), *(self._placement.lead_no_more(flow) if flow.plan.leases else ())]

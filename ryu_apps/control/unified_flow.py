"""One connection as the host knows it, and the entries that follow from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from ryu_apps.engine.connection import Leg, Plan
from ryu_apps.engine.own_meters import of_connection
from ryu_apps.engine.ruling import Verdict
from ryu_apps.model.flow_key import FlowKey, reverse
from ryu_apps.model.rules import Direction
from ryu_apps.model.treatment import Treatment
from ryu_apps.pipeline.cached import CachedEntry, cached, is_tcp
from ryu_apps.pipeline.cookie import Cookie, EntryClass, of_vport


class UnifiedFlow(NamedTuple):
    """One connection: the key of its first packet, the plan that policy made for it, and its age.

    generation is the policy's under which the plan was made, renewed the one under which a walk last confirmed it.
    parent is the flow that this one is a variant of (same connection, other MACs or DSCP), 0 for none.
    half_open: it was not seen answered when its entries were made, which have the short timeouts for that: all of a TCP
    connection that a SYN began, of UDP those of the first packet's way.
    ended: of a TCP connection, the ways whose FIN has passed while the other goes on: 1 its first packet's, 2 replies'.
    lacks_meter: a NIC has no meter left for it, so that its packets stay with the host.
    aggressive: it comes of a flood, and what has short timeouts until an answer has shorter ones; so has a refusal.
    """

    id: int
    segment: int
    key: FlowKey
    plan: Plan
    generation: int
    renewed: int
    created_s: float
    parent: int = 0
    half_open: bool = False
    lacks_meter: bool = False
    ended: int = 0
    aggressive: bool = False

    @property
    def connection(self) -> int:
        """The id of the flow that this one is a variant of, or its own."""
        return self.parent or self.id

    def legs(self) -> Iterator[tuple[Leg, FlowKey]]:
        """Yield every leg with the key that packets have there."""
        return self.plan.legs(self.key)

    def entries(self) -> Iterator[CachedEntry]:
        """Return the entry of every leg, those of the first packet's way first."""
        made = self._entries()
        return map(self._metered, made) if self.plan.metered else made

    def verdict_at(self, vport: int, direction: Direction) -> Verdict:
        """Return the verdict on this flow's packets at a vport that they pass in this direction."""
        legs = (*self.plan.forward, *self.plan.reply)
        verdict = next(leg.verdict for leg in legs if leg.vport == vport and leg.direction is direction)
        return replace(verdict, treatment=self.own_treatment(verdict.treatment)) if self.plan.metered else verdict

    def own_treatment(self, treatment: Treatment | None) -> Treatment | None:
        """Return the treatment of this flow's packets: with the connection's own meters, where it has some."""
        owns = self.plan.metered and not self.lacks_meter
        return of_connection(treatment, self.connection) if owns else treatment

    def _metered(self, made: CachedEntry) -> CachedEntry:
        return made._replace(treatment=self.own_treatment(made.treatment))

    def _entries(self) -> Iterator[CachedEntry]:
        segment = self.segment
        entry_class = EntryClass.EXTRA if self.parent else EntryClass.FORWARD
        cookie = Cookie(entry_class, self.generation, 0, self.id).pack()
        key = self.key
        for leg in self.plan.forward:
            at = of_vport(cookie, leg.vport)
            yield cached(leg, key, segment, at, self.half_open, self.ended & 1 > 0, self.aggressive)
            key = leg.verdict.edit.apply(key)
        if not self.plan.reply:
            return
        key = reverse(key)
        cookie = Cookie(EntryClass.REPLY, self.generation, 0, self.id).pack()
        half_open = self.half_open and is_tcp(key)
        for leg in self.plan.reply:
            at = of_vport(cookie, leg.vport)
            yield cached(leg, key, segment, at, half_open, self.ended & 2 > 0, self.aggressive and half_open)
            key = leg.verdict.edit.apply(key)

"""A packet that missed in a cache: its flow is found or begun, the flow's entries are made, and the packet goes on."""

from __future__ import annotations

from typing import NamedTuple

from ryu_apps.control.ageing import Ageing
from ryu_apps.control.connections import Connections
from ryu_apps.control.effects import Effect, Install
from ryu_apps.control.events import PacketIn
from ryu_apps.control.fast_path import FastPath, Leg
from ryu_apps.control.holding import Held, Holding, travels_alone
from ryu_apps.control.meeting import Meeting
from ryu_apps.control.nic_caches import NicCaches
from ryu_apps.control.offload import Offload
from ryu_apps.control.placement import Placement
from ryu_apps.control.single import BEHIND, send_as_entry, send_on
from ryu_apps.control.tally import Tally
from ryu_apps.control.unified_flow import UnifiedFlow
from ryu_apps.engine.connection import looked_at
from ryu_apps.engine.policy import Policy
from ryu_apps.engine.ruling import Verdict
from ryu_apps.model.flow_key import Parsed
from ryu_apps.model.network import Segment, Vport
from ryu_apps.model.rules import Direction
from ryu_apps.pipeline.cookie import is_reply


class Arrival(NamedTuple):
    """A packet that came up to the controller: where it was going, and what its headers say."""

    event: PacketIn
    segment: Segment
    vport: Vport
    direction: Direction
    parsed: Parsed


class Misses:
    """Decides packets that missed, by their flows."""

    def __init__(
        self,
        meeting: Meeting,
        ageing: Ageing,
        placement: Placement,
        nic_caches: NicCaches,
        offload: Offload,
        holding: Holding,
        life: Connections,
        fast_path: FastPath,
        tally: Tally,
    ) -> None:
        """Keep what is shared with the core."""
        self._meeting = meeting
        self._ageing = ageing
        self._placement = placement
        self._nic_caches = nic_caches
        self._offload = offload
        self._holding = holding
        self._life = life
        self._fast_path = fast_path
        self._tally = tally

    def decide(self, policy: Policy, arrival: Arrival, now_s: float) -> list[Effect]:
        """Return what to do about a whole packet that missed."""
        event, segment, vport, direction, parsed = arrival
        attempt = event if travels_alone(event.frame, parsed) else None
        flow, begun, effects = self._meeting.meet(policy, segment, vport, direction, parsed.key, now_s, attempt=attempt)
        if flow is None:
            return effects
        self._ageing.leaves_host(flow)
        # Who waits for an answer, or is refused, has nothing else under way that an entry could overtake.
        alone = attempt is not None or not flow.plan.allow
        if begun:
            return effects + self._begun(policy, arrival, flow, alone, now_s)
        return effects + self._known(arrival, flow, alone, now_s)

    def _begun(self, policy: Policy, arrival: Arrival, flow: UnifiedFlow, alone: bool, now_s: float) -> list[Effect]:
        """Return what to do about a packet that has begun a flow, and about the flow's entries."""
        event, _, vport, direction, _ = arrival
        leg = Held(flow.id, vport.number, direction)
        verdict = flow.verdict_at(vport.number, direction)
        steered = self._offload.steers(flow)
        effects = self._offload.begin(flow, leg, now_s) if steered else []
        in_nic = not steered or self._nic_caches.holds(flow, vport.number, direction)
        # What goes through an entry counts there, as if the NIC had spared the host a packet.
        through = alone and not (steered and verdict.allow)
        installs = self._placement.install(flow, but=None if through else leg)
        if not steered:
            self._learn(policy, arrival, flow, installs, alone)
        effects += installs
        if not through:
            return effects + self._behind(arrival, leg, verdict, steered, in_nic, alone, now_s)
        # Its entry decides; of a denied packet that may be a copy for a mirror.
        if verdict.allow or verdict.treatment is not None:
            effects.append(send_as_entry(event))
        return effects

    def _known(self, arrival: Arrival, flow: UnifiedFlow, alone: bool, now_s: float) -> list[Effect]:
        """Return what to do about a packet of a flow that the host knows, and about the entry that it missed."""
        event, _, vport, direction, parsed = arrival
        leg = Held(flow.id, vport.number, direction)
        verdict = flow.verdict_at(vport.number, direction)
        flow = self._life.host_forwards(flow, leg, event.frame, parsed, now_s)
        watched = flow.half_open or self._life.busy
        in_nic = not watched or self._life.goes_on(flow, leg, event.frame, parsed)
        steered = in_nic and self._offload.steers(flow)
        effects: list[Effect] = []
        if steered and flow.half_open and self._life.has_answer(flow, leg):
            # The host has seen the answer itself: from now on the connection has its lasting timeouts.
            flow = self._life.lasting(flow, 1) or flow
            self._offload.age_anew(flow, now_s)
            effects += self._placement.install(flow)
        if steered:
            effects += self._offload.missed(flow, leg, now_s)
            in_nic = self._nic_caches.holds(flow, vport.number, direction)
        return effects + self._behind(arrival, leg, verdict, steered, in_nic, alone, now_s)

    def _behind(
        self, arrival: Arrival, leg: Held, verdict: Verdict, steered: bool, in_nic: bool, alone: bool, now_s: float
    ) -> list[Effect]:
        """Return a packet sent on behind the cache, and the entry that it missed where that is for the NIC.

        It does not go through the entry: a packet that its entry did not match would come back for ever.
        """
        event, _, vport, direction, parsed = arrival
        effects: list[Effect] = [*send_on(event, direction, verdict, parsed.key)]
        if not verdict.allow:
            self._tally.count("denied", vport.number)
        elif steered:
            self._tally.count("host-forwarded", vport.number)
        if in_nic and (alone or not self._holding.seen(leg, now_s)):
            effects += self._placement.install_leg(leg)
        return effects

    def _learn(self, policy: Policy, arrival: Arrival, flow: UnifiedFlow, installs: list[Effect], alone: bool) -> None:
        """Let the fast path know what became of a packet that began a flow, where others will fare alike."""
        event, _, _, _, parsed = arrival
        if flow.parent or not self._fast_path.takes(event, parsed):
            return
        first = flow.plan.forward[0]
        vport, segment = policy.vports[first.vport], policy.segments[flow.segment]
        relevant = looked_at(policy, segment.id, vport, first.direction, flow.key)
        if relevant is None:
            return
        legs = tuple(
            Leg(effect.dpid, effect.entry, is_reply(effect.entry.cookie))
            for effect in installs
            if isinstance(effect, Install)
        )
        table = event.table if alone else BEHIND[first.direction]
        held = None if alone else first.direction
        self._fast_path.learn(event, parsed, flow, relevant, legs, table if first.verdict.allow else None, held)

"""The flow that a packet belongs to: found in the host's table, or begun by a walk through the layers."""

from __future__ import annotations

from typing import NamedTuple

from ryu_apps.control.ageing import Ageing
from ryu_apps.control.aggressive_ageing import AggressiveAgeing
from ryu_apps.control.connection_id import connection_id
from ryu_apps.control.connections import Connections, awaits_answer
from ryu_apps.control.crowding import Crowding
from ryu_apps.control.effects import Effect
from ryu_apps.control.events import PacketIn
from ryu_apps.control.expiry import Expiry
from ryu_apps.control.flow_table import FlowTable
from ryu_apps.control.leases import Owner, owner_of
from ryu_apps.control.lender import Lender
from ryu_apps.control.placement import Placement
from ryu_apps.control.tally import Tally
from ryu_apps.control.unified_flow import UnifiedFlow
from ryu_apps.control.variant import plan_of_packet, same_packets
from ryu_apps.engine.connection import Plan, brought_to
from ryu_apps.engine.lending import Lend, is_exhausted
from ryu_apps.engine.policy import Policy
from ryu_apps.model.flow_key import FlowKey
from ryu_apps.model.network import Segment, Vport
from ryu_apps.model.rules import Direction
from ryu_apps.pipeline.cached import is_tcp


class Met(NamedTuple):
    """The flow that a packet belongs to, whether the packet began it, and what had to go for it.

    flow is None when its vport may begin no more.
    """

    flow: UnifiedFlow | None
    begun: bool
    effects: list[Effect]


class Meeting:
    """Finds or begins the flow of a packet, within what its vport may begin."""

    def __init__(
        self,
        flows: FlowTable,
        ageing: Ageing,
        placement: Placement,
        life: Connections,
        expiry: Expiry,
        tally: Tally,
        flows_per_vport: int,
        crowding: Crowding,
        aggressive: AggressiveAgeing,
    ) -> None:
        """Keep what is shared with the core."""
        self._flows = flows
        self._ageing = ageing
        self._placement = placement
        self._life = life
        self._expiry = expiry
        self._tally = tally
        self._flows_per_vport = flows_per_vport
        self._crowding = crowding
        self._aggressive = aggressive

    def meet(
        self,
        policy: Policy,
        segment: Segment,
        vport: Vport,
        direction: Direction,
        key: FlowKey,
        now_s: float,
        *,
        attempt: PacketIn | None = None,
    ) -> Met:
        """Return the flow that a packet belongs to, found or begun; attempt: it is a SYN, and begins one half open."""
        connection = connection_id(segment.number, key)
        known = self._flows.find(connection)
        effects: list[Effect] = []
        if attempt and known and any(self._life.is_closing(flow.id) for flow in known):
            # The ends use their ports again; what follows is another connection.
            for flow in known:
                if self._flows.get(flow.id) is not None:  # A variant is gone with its connection.
                    effects += self._ageing.remove(flow)
            known = ()
        for flow in known:
            for leg, seen in flow.legs():
                if leg.vport == vport.number and leg.direction is direction and same_packets(seen, key, leg.exact_dscp):
                    self._tally.count("host-hits", vport.number)
                    self._expiry.confirm(flow.id, now_s)
                    return self._with_meters(flow) if flow.lacks_meter else Met(flow, False, [])
        lend = None
        if policy.snapshot.nat_pools:
            lend = self._lender(policy, owner_of(vport.number, segment.number, key), now_s)
        plan, parent = plan_of_packet(policy, known, segment, vport, direction, key, lend)
        if not plan.allow and self._flows.leases.unread and self._is_unread(policy, plan):
            # It may have something of the pool already. Nothing is kept of it: it asks again.
            self._tally.count("pool-unread", vport.number)
            return Met(None, False, effects)
        if not plan.allow:
            self._tally.count("denied", vport.number)
            if is_exhausted(plan.forward[0].verdict):
                self._tally.count("pool-exhausted", vport.number)
        if self._flows.begun_by(vport.number) >= self._flows_per_vport:
            self._tally.count("flow-limit", vport.number)
            return Met(None, False, effects)
        aggressive = (vport.number, direction) in self._aggressive.askers
        half_open = not parent and (attempt is not None or awaits_answer(plan, key, aggressive=aggressive))
        counts = half_open and plan.allow and is_tcp(key)
        if attempt and counts and self._life.full(vport.number):
            return Met(None, False, effects + self._crowding.full(vport.number, direction, attempt, now_s))
        # A refusal of the way back stood only until somebody began the connection from that side.
        for flow in known if plan.allow and not parent else ():
            if not flow.plan.allow and self._flows.get(flow.id) is not None:  # A variant is gone with its connection.
                effects += self._ageing.remove(flow)
        generation = policy.snapshot.generation
        flow_id = self._flows.new_id()
        lacks = plan.metered and not self._flows.meters.fit(plan, parent or flow_id)
        flow = UnifiedFlow(
            flow_id, segment.number, key, plan, generation, generation, now_s, parent, half_open, lacks,
            aggressive=aggressive,
        )  # fmt: skip
        self._flows.add(flow, connection)
        if plan.metered:
            effects += self._flows.meters.due(flow_id)
        if plan.leases:
            effects += self._placement.lead(flow)
        if not parent:
            self._tally.count("begun", vport.number)
            receiver = brought_to(policy, plan)
            if receiver:
                self._tally.count("brought", receiver)
        if counts:
            self._life.began(flow.id, vport.number)
        return Met(flow, True, effects)

    def _with_meters(self, flow: UnifiedFlow) -> Met:
        """Return a flow that the NIC had no meter left for, with its own where there is one now."""
        if not self._flows.meters.fit(flow.plan, flow.connection):
            return Met(flow, False, [])
        metered = flow._replace(lacks_meter=False)
        self._flows.replace(flow, metered)
        return Met(metered, False, [*self._flows.meters.due(flow.id)])

    def _lender(self, policy: Policy, owner: Owner, now_s: float) -> Lend:
        """Return who lends to a new connection what it needs of NAT pools."""
        leases, pools = self._flows.leases, policy.snapshot.nat_pools
        leases.pass_time(now_s, pools)
        return Lender(leases, pools, owner, closed=self._closed(policy) if leases.unread else ())

    def _closed(self, policy: Policy) -> set[str]:
        """Return the pools, by id, on hosts of which it is not known yet what connections have there."""
        hosts, unread = policy.snapshot.hosts, self._flows.leases.unread
        return {pool.id for pool in policy.snapshot.nat_pools.values() if hosts[pool.host].dpid in unread}

    def _is_unread(self, policy: Policy, plan: Plan) -> bool:
        """Return whether a plan denies because a pool lends nothing yet."""
        verdict = plan.forward[0].verdict
        return is_exhausted(verdict) and verdict.rulings[-1].pool in self._closed(policy)

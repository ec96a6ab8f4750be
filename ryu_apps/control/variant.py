"""Variants of a connection: packets that belong to it by their 5-tuple but have other MACs or DSCP."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ryu_apps.control.unified_flow import UnifiedFlow
from ryu_apps.engine.connection import Leg, Plan, connect, leads_back, plan_of
from ryu_apps.engine.lending import Lend
from ryu_apps.engine.policy import Policy
from ryu_apps.engine.walk import walk_reply
from ryu_apps.model.flow_key import Family, FlowKey, customer_tag
from ryu_apps.model.network import Segment, Vport
from ryu_apps.model.rules import Direction

_DSCP = {Family.IPV4: 0x3F << 96, Family.IPV6: 0x3F << 288}
_ENDS = {Family.IPV4: (1 << 96) - 1 | 0xFF << 104, Family.IPV6: (1 << 288) - 1 | 0xFF << 296}


def same_packets(first: FlowKey, second: FlowKey, exact_dscp: bool) -> bool:
    """Return whether one exact entry stands for both keys."""
    if exact_dscp or first.family is not second.family:
        return first == second
    return not (first.bits ^ second.bits) & ~_DSCP.get(first.family, 0)


def same_ends(first: FlowKey, second: FlowKey) -> bool:
    """Return whether two keys of IPv4 or IPv6 have one 5-tuple, and the same customer tag or none."""
    ends = _ENDS.get(first.family)
    if first.family is not second.family or ends is None or (first.bits ^ second.bits) & ends:
        return False
    return customer_tag(first) == customer_tag(second)


def plan_of_packet(
    policy: Policy, known: Iterable[UnifiedFlow], segment: Segment, vport: Vport, direction: Direction, key: FlowKey,
    lend: Lend | None = None,
) -> tuple[Plan, int]:
    """Return the plan for a packet that no entry stands for, and the flow's id that it is a variant of, 0 for none.

    known: the flows of the packet's connection.
    """
    for flow in known:
        plan = variant_plan(policy, flow, segment, vport, direction, key, lend) if flow.plan.allow else None
        if plan is not None:
            return plan, flow.parent or flow.id
    return connect(policy, segment.id, vport, direction, key, lend), 0


def variant_plan(
    policy: Policy, flow: UnifiedFlow, segment: Segment, vport: Vport, direction: Direction, key: FlowKey,
    lend: Lend | None = None,
) -> Plan | None:
    """Return the plan for packets of an allowed connection with other MACs or DSCP, None where it has no such leg.

    It has no replies of its own: those of the connection stand for both.
    """
    legs = list(flow.legs())
    forward, reply = legs[: len(flow.plan.forward)], legs[len(flow.plan.forward) :]
    for leg, seen in forward:
        if leg.vport == vport.number and leg.direction is direction and same_ends(seen, key):
            return plan_of(policy, connect(policy, segment.id, vport, direction, key, lend).forward, ())
    for position, (leg, seen) in enumerate(reply):
        if leg.vport == vport.number and leg.direction is direction and same_ends(seen, key):
            way = [later for later, _ in reply[position:]]
            return plan_of(policy, tuple(_reply_legs(policy, segment, forward, way, key)), ())
    return None


def _reply_legs(
    policy: Policy, segment: Segment, forward: Sequence[tuple[Leg, FlowKey]], way: Iterable[Leg], key: FlowKey
) -> Iterator[Leg]:
    """Yield the legs of a reply with this key, at the vports of the way that it takes."""
    opened = {leg.vport: (leg.verdict, seen) for leg, seen in forward}
    openers = {leg.vport: leg for leg, _ in forward}
    last: Leg | None = None
    for leg in way:
        vport = policy.vports[leg.vport]
        if last is not None and not leads_back(policy, segment.id, last, key, openers[leg.vport]):
            return  # A rule or a route sends the reply elsewhere.
        view = policy.view(vport, leg.direction)
        verdict = walk_reply(view, key, *opened[leg.vport])
        last = Leg(leg.vport, leg.direction, verdict, view.uses_dscp)
        yield last
        if not verdict.allow:
            return
        key = verdict.edit.apply(key)

"""Variants of a connection: packets that belong to it by their 5-tuple but have other MACs or DSCP."""

from __future__ import annotations

from ryu_apps.control.flow_table import UnifiedFlow
from ryu_apps.engine.connection import Leg, Plan, connect, plan_of
from ryu_apps.engine.policy import Policy
from ryu_apps.engine.walk import walk_reply
from ryu_apps.model.flow_key import Family, FlowKey
from ryu_apps.model.network import Segment, Vport
from ryu_apps.model.rules import Direction

_DSCP = {Family.IPV4: 0x3F << 96, Family.IPV6: 0x3F << 288}
_ENDS = {Family.IPV4: (1 << 96) - 1 | 0xFF << 104, Family.IPV6: (1 << 288) - 1 | 0xFF << 296}


def same_packets(first: FlowKey, second: FlowKey, exact_dscp: bool) -> bool:
    """Return whether one exact entry stands for both keys."""
    if exact_dscp or first.family is not second.family:
        return first == second
    return not (first.bits ^ second.bits) & ~_DSCP.get(first.family, 0)


def _same_ends(first: FlowKey, second: FlowKey) -> bool:
    ends = _ENDS.get(first.family)
    return first.family is second.family and ends is not None and not (first.bits ^ second.bits) & ends


def variant_plan(
    policy: Policy, flow: UnifiedFlow, segment: Segment, vport: Vport, direction: Direction, key: FlowKey
) -> Plan | None:
    """Return the plan for packets of an allowed connection with other MACs or DSCP, None where it has no such leg.

    It has no replies of its own: those of the connection stand for both.
    """
    legs = list(flow.legs())
    forward, reply = legs[: len(flow.plan.forward)], legs[len(flow.plan.forward) :]
    for leg, seen in forward:
        if leg.vport == vport.number and leg.direction is direction and _same_ends(seen, key):
            return plan_of(policy, connect(policy, segment.id, vport, direction, key).forward, ())
    for leg, seen in reply:
        if leg.vport == vport.number and leg.direction is direction and _same_ends(seen, key):
            opened, opened_key = next((first, at) for first, at in forward if first.vport == vport.number)
            view = policy.view(vport, direction)
            verdict = walk_reply(view, key, opened.verdict, opened_key)
            return plan_of(policy, (Leg(vport.number, direction, verdict, view.uses_dscp),), ())
    return None

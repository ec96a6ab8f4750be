"""Entries that lead replies for the address of a NAT pool to the vport that has borrowed it."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator

from ryu_apps.control.effects import Add, Remove
from ryu_apps.control.flow_table import UnifiedFlow
from ryu_apps.engine.policy import Policy
from ryu_apps.model.rules import Direction
from ryu_apps.pipeline.entry import FlowEntry
from ryu_apps.pipeline.pooled import lead_entry


def leads(
    flows: Iterable[UnifiedFlow], policy: Policy, datapaths: Container[int]
) -> Iterator[tuple[int, FlowEntry]]:
    """Yield the entry of each flow that has a leased source, with the datapath of the vport that began the flow.

    It is there as long as the flow is known, also while the NIC has none of the flow's own entries.
    Nothing is yielded for datapaths that are away.
    """
    for flow in flows:
        number = flow.plan.forward[0].vport
        vport, dpid = policy.vports.get(number), policy.dpids.get(number)
        if not flow.plan.leases or flow.parent or vport is None or dpid is None or dpid not in datapaths:
            continue
        for leg, seen in flow.legs():
            if leg.vport == number and leg.direction is Direction.INBOUND:
                yield dpid, lead_entry(flow.segment, vport, flow.id, seen)


def lead(flow: UnifiedFlow, policy: Policy, datapaths: Container[int]) -> list[Add]:
    """Return the installing of a new flow's entry."""
    return [Add(dpid, made) for dpid, made in leads([flow], policy, datapaths)] if flow.plan.leases else []


def lead_no_more(flow: UnifiedFlow, policy: Policy, datapaths: Container[int]) -> list[Remove]:
    """Return the removal of a flow's entry."""
    return [Remove(dpid, made) for dpid, made in leads([flow], policy, datapaths)] if flow.plan.leases else []

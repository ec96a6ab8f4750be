"""Entries that lead replies for the address of a NAT pool to the vport that has borrowed it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ryu_apps.control.effects import Add, Remove
from ryu_apps.control.flow_table import UnifiedFlow
from ryu_apps.engine.policy import Policy
from ryu_apps.model.rules import Direction
from ryu_apps.pipeline.entry import FlowEntry
from ryu_apps.pipeline.pooled import lead_entry


def leads(flow: UnifiedFlow) -> Iterator[FlowEntry]:
    """Yield the entry that a flow with a leased source needs, at the datapath of the vport that began it.

    It is there as long as the flow is known, also while the NIC has none of the flow's own entries.
    """
    if not flow.plan.leases or flow.parent:
        return
    vport = flow.plan.forward[0].vport
    for leg, seen in flow.legs():
        if leg.vport == vport and leg.direction is Direction.INBOUND:
            yield lead_entry(flow.segment, vport, flow.id, seen)


def lead_changes(flows: Iterable[UnifiedFlow], policy: Policy) -> Iterator[tuple[int, FlowEntry]]:
    """Yield these entries with their datapaths, as a policy has them."""
    for flow in flows:
        for made in leads(flow):
            dpid = policy.dpids.get(flow.plan.forward[0].vport)
            if dpid is not None:
                yield dpid, made


def lead(dpid: int | None, flow: UnifiedFlow) -> list[Add]:
    """Return the installing of a new flow's entry; nothing while its datapath is away."""
    return [] if dpid is None else [Add(dpid, made) for made in leads(flow)]


def lead_no_more(dpid: int | None, flow: UnifiedFlow) -> list[Remove]:
    """Return the removal of a flow's entry."""
    return [] if dpid is None else [Remove(dpid, made) for made in leads(flow)]

"""Entries that lead replies for the address of a NAT pool to the vport that has borrowed it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from ryu_apps.control.unified_flow import UnifiedFlow
from ryu_apps.model.network import Vport
from ryu_apps.model.rules import Direction
from ryu_apps.pipeline.entry import FlowEntry
from ryu_apps.pipeline.pooled import lead_entry


def leads(
    flows: Iterable[UnifiedFlow], vports: Mapping[int, Vport], dpid_of: Callable[[int], int | None]
) -> Iterator[tuple[int, FlowEntry]]:
    """Yield the entry of each flow that has a leased source, with the datapath of the vport that began the flow.

    It is there as long as the flow is known, also while the NIC has none of the flow's own entries.
    """
    for flow in flows:
        number = flow.plan.forward[0].vport
        if not flow.plan.leases or flow.parent or number not in vports:
            continue
        dpid = dpid_of(number)
        for leg, seen in flow.legs():
            if leg.vport == number and leg.direction is Direction.INBOUND and dpid is not None:
                yield dpid, lead_entry(flow.segment, vports[number], flow.id, seen)

"""Connections taken over at a restart: what the switches have leads back to the same flows."""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from ryu_apps.control.adoption import Found, adopt_flows
from ryu_apps.control.connection_id import connection_id
from ryu_apps.control.core import ControlCore
from ryu_apps.control.unified_flow import UnifiedFlow
from ryu_apps.engine.policy import compile_policy
from ryu_apps.model.flow_key import Family, FlowKey
from ryu_apps.model.policy import Change
from ryu_apps.model.rules import Direction
from ryu_apps.pipeline.cookie import EntryClass, unpack
from tests.unit.control.histories import first_changes, next_changes
from tests.unit.control.pools import led_by
from tests.unit.control.test_change import agree, anew, disagreements, make_core, meet, packets
from tests.unit.policies import OUT, snapshot, tcp

_DSCP = {Family.IPV4: 0x3F << 96, Family.IPV6: 0x3F << 288}


def left_by(core: ControlCore) -> list[Found]:
    """Return what a controller's entries look like to the next one: an open DSCP reads as zero."""
    found = []
    for flow in core.flows:
        for made in flow.entries():
            key = made.key
            if not made.exact_dscp:
                key = FlowKey(key.family, key.bits & ~_DSCP.get(key.family, 0))
            found.append(Found(made.cookie, made.segment, made.vport, made.direction, key))
    return found


def tells_dscp(flow: UnifiedFlow) -> bool:
    """Return whether a flow's first entry tells the DSCP that later ones depend on; else the next packet is a miss."""
    first, *others = [leg.exact_dscp for leg, _ in flow.legs()]
    return first or not any(others)


def connections(core: ControlCore) -> Counter[int]:
    """Return how many flows are found under each connection id."""
    return Counter(
        connection for flow in core.flows for connection in {connection_id(1, key) for _, key in flow.legs()}
    )


@settings(max_examples=200, deadline=None)
@given(first_changes(), packets(), st.randoms())
def test_a_restart_finds_the_connections_that_were_there(
    first: list[Change], met: list[tuple[str, Direction, FlowKey]], order: Random
) -> None:
    """M26: under the same policy every connection is kept with its id, generation and verdict; variants come again."""
    before = make_core(snapshot(*first))
    for packet in met:
        meet(before, *packet)
    found = left_by(before)
    order.shuffle(found)
    after = make_core(snapshot(*first))
    count = adopt_flows(after, found, 7.0, led_by(before))
    assert count == len(after.flows)
    for flow in after.flows:
        old = before.flows.get(flow.id)
        assert old is not None and not old.parent
        # Nothing leads replies to a refused connection, so nothing tells what source it had: it is refused with any.
        if old.plan.leases and not old.plan.allow:
            assert not flow.plan.allow
        elif tells_dscp(old):
            assert agree(flow.plan, old.plan)
        assert (flow.generation, flow.created_s) == (old.generation, 7.0)
    # Of connections that two flows share one may be left behind; its entries go and its next packet is a miss.
    shared = connections(before)
    alone = {
        flow.id
        for flow in before.flows
        if not flow.parent and all(count == 1 for c, count in shared.items() if flow in before.flows.find(c))
    }
    assert alone <= {flow.id for flow in after.flows}


@settings(max_examples=200, deadline=None)
@given(first_changes(), packets(), st.data())
def test_a_restart_under_another_policy_keeps_only_what_it_says(
    first: list[Change], met: list[tuple[str, Direction, FlowKey]], data: st.DataObject
) -> None:
    """M26: what changed while no controller ran is found out: every adopted flow is as the policy of today makes it."""
    before = make_core(snapshot(*first))
    for packet in met:
        meet(before, *packet)
    changes = data.draw(next_changes(before.policy.snapshot))
    today = before.policy.snapshot.changed(changes)
    after = make_core(today)
    adopt_flows(after, left_by(before), 7.0, led_by(before))
    assert disagreements(after, after.flows, today) == []
    fresh = compile_policy(today)
    for flow in after.flows:
        assert agree(flow.plan, anew(fresh, after.flows.leases, flow, None))


def test_entries_of_replies_alone_begin_nothing() -> None:
    """A reply's entry does not tell who began, so it is stale without its partner."""
    core = make_core(snapshot())
    meet(core, "vm1", OUT, tcp())
    found = [
        entry
        for entry in left_by(core)
        if (cookie := unpack(entry.cookie)) and cookie.entry_class is not EntryClass.FORWARD
    ]
    assert len(found) == 2
    assert adopt_flows(make_core(snapshot()), found, 0.0) == 0

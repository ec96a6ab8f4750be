"""The host's flow table against plain lists: whatever is added, replaced and removed, it finds what asking finds."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from ryu_apps.control.connection_id import connection_id
from ryu_apps.control.flow_table import FlowTable
from ryu_apps.control.unified_flow import UnifiedFlow
from ryu_apps.engine.connection import connect
from ryu_apps.engine.policy import Policy, compile_policy
from ryu_apps.model.action import Deny, Nat, Rewrite
from ryu_apps.model.match import Match
from ryu_apps.model.transposition import transposition
from ryu_apps.pipeline.cookie import FLOW_IDS
from tests.unit.control.histories import ENDS, keys, matches
from tests.unit.policies import IN, IP, MAC, OUT, group, layer, rule, snapshot, tcp

POLICIES = [
    compile_policy(snapshot(layer("a", 1))),
    compile_policy(
        snapshot(
            layer("a", 1, stateful=True),
            group("a", "deny", IN, rule("no", Deny(), ip_proto="tcp", l4_dst="443")),
            group("a", "nat", OUT, rule("n", Nat(edit=transposition({"ipv4_src": IP["ext"]})), ip_proto="udp")),
        )
    ),
    compile_policy(
        snapshot(
            layer("a", 1),
            group("a", "out", OUT, rule("r", Rewrite(transposition({"eth_dst": MAC["vm3"]})), ip_proto="tcp")),
        )
    ),
]
SOURCES = ("vm1", "vm2", "vm3")


@st.composite
def flows(draw: st.DrawFn, flow_id: int, parent: int = 0) -> UnifiedFlow:
    """Draw a flow with this id, as some policy makes it."""
    source = draw(st.sampled_from(SOURCES))
    target = draw(st.sampled_from([end for end in ENDS if end != source]))
    key = draw(keys(source, target))
    policy: Policy = draw(st.sampled_from(POLICIES))
    plan = connect(policy, "red", policy.snapshot.vports[source], OUT, key)
    return UnifiedFlow(flow_id, 1, key, plan, 1, 1, 0.0, parent)


@st.composite
def histories(draw: st.DrawFn) -> tuple[FlowTable, dict[int, UnifiedFlow]]:
    """Draw a table that has seen flows come, change and go, with the flows that it must hold."""
    table, held = FlowTable(), dict[int, UnifiedFlow]()
    for step in range(1, draw(st.integers(0, 15)) + 1):
        alone = [flow for flow in held.values() if not any(other.parent == flow.id for other in held.values())]
        what = draw(st.sampled_from(["add", "add", "add", "variant", "replace", "remove"]))
        if what == "remove" and alone:
            gone = draw(st.sampled_from(alone))
            table.remove(gone)
            del held[gone.id]
        elif what == "replace" and held:
            old = draw(st.sampled_from(list(held.values())))
            new = draw(flows(old.id, old.parent))
            table.replace(old, new)
            held[old.id] = new
        else:
            parents = [flow.id for flow in held.values() if not flow.parent]
            parent = draw(st.sampled_from(parents)) if what == "variant" and parents else 0
            flow = held[step] = draw(flows(step, parent))
            known = connection_id(1, flow.key)
            table.add(flow, draw(st.sampled_from([None, known])))
    return table, held


def same(found: Iterable[UnifiedFlow], expected: Iterable[UnifiedFlow]) -> bool:
    """Return whether two collections hold the same flows, each once."""
    found = list(found)
    return sorted(f.id for f in found) == sorted(f.id for f in expected) and set(found) == set(expected)


@settings(max_examples=300, deadline=None)
@given(histories(), matches())
def test_a_flow_table_finds_what_asking_every_flow_finds(
    history: tuple[FlowTable, dict[int, UnifiedFlow]], match: Match
) -> None:
    """Every way of finding flows agrees with going through all of them."""
    table, held = history
    assert len(table) == len(held) and same(table, held.values())
    for number in range(20):
        assert table.get(number) == held.get(number)
        assert same(table.variants(number), [flow for flow in held.values() if flow.parent == number != 0])
    connections = {flow.id: {connection_id(1, key) for _, key in flow.legs()} for flow in held.values()}
    for wanted in set().union(*connections.values()):
        assert same(table.find(wanted), [flow for flow in held.values() if wanted in connections[flow.id]])
    assert set(table.plans()) == {flow.plan for flow in held.values()}
    for plan in table.plans():
        assert same(table.of_plan(plan), [flow for flow in held.values() if flow.plan is plan])
    for vport in (101, 102, 103, 104):
        assert table.begun_by(vport) == sum(flow.plan.forward[0].vport == vport for flow in held.values())
        passing = [flow for flow in held.values() if vport in {leg.vport for leg, _ in flow.legs()}]
        assert same(table.at_vport(vport), passing)
        ids = [flow_id for _, part in table.ids_at_vport(vport, 1) for flow_id in array("I", part)]
        assert sorted(ids) == sorted(flow.id for flow in passing)
    for name in (("a", "deny", "no"), ("a", "nat", "n"), ("a", "out", "r"), ("a", "out", "x")):
        spoken = [
            flow
            for flow in held.values()
            if any((r.layer, r.group, r.rule) == name for leg, _ in flow.legs() for r in leg.verdict.rulings)
        ]
        assert same(table.by_rule(name), spoken)
    for family, condition in match.conditions:
        met = [flow for flow in held.values() if flow.key.family is family and condition.matches(flow.key.bits)]
        assert same(table.matching(family, condition, table.plans(), reply=False), met)


def test_ids_come_round_and_pass_over_those_in_use() -> None:
    """An id is given again only when nobody has it, and 0 never."""
    policy = POLICIES[0]
    table = FlowTable(FLOW_IDS - 1)
    given_ids = []
    for number in range(3):
        flow_id = table.new_id()
        given_ids.append(flow_id)
        key = tcp(sport=number)
        plan = connect(policy, "red", policy.snapshot.vports["vm1"], OUT, key)
        table.add(UnifiedFlow(flow_id, 1, key, plan, 1, 1, 0.0))
    assert given_ids == [FLOW_IDS - 1, 1, 2]


def test_an_emptied_table_remembers_nothing() -> None:
    """What flows leave behind would add up over the years: no plan, connection or count stays."""
    table = FlowTable()
    policy = POLICIES[1]
    held = []
    for number in range(10):
        key = tcp(sport=number, ip_proto="udp")
        plan = connect(policy, "red", policy.snapshot.vports["vm1"], OUT, key)
        held.append(UnifiedFlow(table.new_id(), 1, key, plan, 1, 1, 0.0))
        table.add(held[-1])
    for flow in held:
        table.remove(flow)
        assert table.find(connection_id(1, flow.key)) == ()
    assert len(table) == 0 and list(table) == [] and list(table.plans()) == [] and table.begun_by(101) == 0

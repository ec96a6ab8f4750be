"""Policy changes: the flows found to be touched are all that can be, and the switches end up with what is wanted."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ryu_apps.control.affected import affected
from ryu_apps.control.change import adopt, base_of, bundles, meters_of, plan_change, revise_flows
from ryu_apps.control.core import ControlCore
from ryu_apps.control.effects import Add, Effect, Install, Release, Remove, SwitchChange
from ryu_apps.control.events import PacketIn, PresentEntry
from ryu_apps.control.leading import leads
from ryu_apps.control.leases import Leases, owner_of
from ryu_apps.control.lender import Lender
from ryu_apps.control.unified_flow import UnifiedFlow
from ryu_apps.control.variant import variant_plan
from ryu_apps.engine.connection import Leg, Plan, connect
from ryu_apps.engine.policy import Policy, compile_policy, recompile
from ryu_apps.model.action import Allow, Deny, Mirror, Nat, Rewrite
from ryu_apps.model.flow_key import Family, FlowKey, reverse
from ryu_apps.model.policy import Change, Snapshot
from ryu_apps.model.rules import Direction
from ryu_apps.model.transposition import transposition
from ryu_apps.pipeline.cached import CachedEntry, compile_cached
from ryu_apps.pipeline.cookie import Punt
from ryu_apps.pipeline.entry import EntryKey, FlowEntry
from ryu_apps.pipeline.meters import MeterConfig
from ryu_apps.pipeline.pieces import entries_of
from tests.unit.control.histories import ENDS, first_changes, keys, next_changes
from tests.unit.frames import frame_of
from tests.unit.policies import IN, IP, OUT, group, layer, rule, snapshot, tcp, vport

PORTS = {1: {"h1-vf1": 1, "h1-vf2": 2, "h1-uplink": 9}, 2: {"h2-vf3": 1, "h2-uplink": 9}}
HOME = {"vm1": 1, "vm2": 1, "vm3": 2}


def make_core(after: Snapshot) -> ControlCore:
    """Return a core with both hosts' datapaths up."""
    core = ControlCore(compile_policy(after))
    core.datapaths = dict(PORTS)
    return core


def meet(core: ControlCore, name: str, direction: Direction, key: FlowKey) -> list[Effect]:
    """Return what the core does about a packet met at a vport of the first policy."""
    if key.family is Family.LINK:
        frame = key.bits.to_bytes(16, "big")
        frame = frame[:12] + frame[14:] + b"\0" * 46
    else:
        frame = frame_of(key)
    vport = core.policy.snapshot.vports[name]
    sender, receiver = (vport.number, 0) if direction is OUT else (0, vport.number)
    event = PacketIn(HOME[name], direction.value, Punt.MISS, 1, 1, sender, receiver, frame)
    return core.packet_in(event, 0.0)


@st.composite
def packets(draw: st.DrawFn) -> list[tuple[str, Direction, FlowKey]]:
    """Draw packets as they are met: at the sending vport, or at the receiving one when they come from outside."""
    met: list[tuple[str, Direction, FlowKey]] = []
    for _ in range(draw(st.integers(1, 6))):
        source, target = draw(st.permutations(ENDS))[:2]
        key = draw(keys(source, target))
        met.append((target, IN, key) if source == "ext" else (source, OUT, key))
        if target in HOME and draw(st.booleans()):
            met.append((target, OUT, reverse(key)))
    return met


def said(leg: Leg) -> tuple[object, ...]:
    """Return what a leg says and who said it."""
    verdict = leg.verdict
    # What is denied in the end has nothing of a pool, and would be lent another thing each time.
    edits = [r.edit if r.pool is None or verdict.leases else None for r in verdict.rulings]
    words = zip(verdict.rulings, edits, strict=True)
    sources = tuple((r.layer, r.group, r.rule, r.reason, r.allow, edit) for r, edit in words)
    return leg.vport, leg.direction, verdict.allow, verdict.edit, verdict.treatment, verdict.idle_timeout_s, sources


def agree(plan: Plan, other: Plan | None) -> bool:
    """Return whether a plan says what another says, in entries that are no wider."""
    if other is None:
        return False
    for own, others in ((plan.forward, other.forward), (plan.reply, other.reply)):
        if list(map(said, own)) != list(map(said, others)):
            return False
        if any(second.exact_dscp and not first.exact_dscp for first, second in zip(own, others, strict=True)):
            return False
    return True


def anew(policy: Policy, leases: Leases, flow: UnifiedFlow, parent: UnifiedFlow | None) -> Plan | None:
    """Return the plan that a flow would have if its first packet came now, None when it could not come."""
    first = flow.plan.forward[0]
    vport, segment = policy.vports.get(first.vport), policy.segments.get(flow.segment)
    if vport is None or segment is None or segment.id not in vport.segments:
        return None
    lend = Lender(leases, policy.snapshot.nat_pools, owner_of(first.vport, flow.segment, flow.key))
    if parent is not None:
        return variant_plan(policy, parent, segment, vport, first.direction, flow.key, lend)
    return connect(policy, segment.id, vport, first.direction, flow.key, lend)


def disagreements(core: ControlCore, flows: Iterable[UnifiedFlow], after: Snapshot) -> list[UnifiedFlow]:
    """Return the flows whose plan is not the one that a freshly compiled policy gives them."""
    fresh = compile_policy(after)
    parents = {flow.id: core.flows.get(flow.parent) if flow.parent else None for flow in core.flows}
    return [f for f in flows if not agree(f.plan, anew(fresh, core.flows.leases, f, parents[f.id]))]


@settings(max_examples=300, deadline=None)
@given(first_changes(), packets(), st.data())
def test_a_flow_that_is_not_found_to_be_affected_keeps_its_verdict(
    first: list[Change], met: list[tuple[str, Direction, FlowKey]], data: st.DataObject
) -> None:
    """M15, M16: whatever changes, every flow whose verdict, entries or rules differ is among the affected ones."""
    core = make_core(snapshot(*first))
    for packet in met:
        meet(core, *packet)
    before = core.policy
    changes = data.draw(next_changes(before.snapshot))
    after = before.snapshot.changed(changes)
    found = affected(core.flows, before, recompile(before, after, changes), changes)
    left = [flow for flow in core.flows if flow.id not in found and flow.parent not in found]
    assert disagreements(core, left, after) == []


Switches = dict[int, dict[EntryKey | int, FlowEntry | MeterConfig]]
"""What each switch has: its entries by their keys, and its meters by their numbers."""


def compiled(made: FlowEntry | CachedEntry | PresentEntry) -> FlowEntry:
    """Return the flow entry of what a change adds or removes."""
    assert not isinstance(made, PresentEntry)
    return compile_cached(made) if isinstance(made, CachedEntry) else made


def wanted(core: ControlCore) -> Switches:
    """Return every entry that each switch must have."""
    switches: Switches = {}
    for dpid, ports in PORTS.items():
        switches[dpid] = {made.key: made for made in entries_of(base_of(core.policy, dpid, ports))}
        switches[dpid] |= meters_of(core.policy, dpid)
    for flow in core.flows:
        for made in flow.entries():
            dpid = core.dpid_of(made.vport)
            if dpid is not None:
                entry = compile_cached(made)
                switches[dpid][entry.key] = entry
    for at, entry in leads(core.flows, core.policy.vports, core.dpid_of):
        switches[at][entry.key] = entry
    return switches


def carry_out(switches: Switches, changes: Iterable[SwitchChange]) -> None:
    """Do to imagined switches what a change does: new meters, removals, additions, meters that go."""
    for change in changes:
        for meter in (*change.meters.put, *change.meters.altered):
            assert (meter.number in switches[change.dpid]) is (meter in change.meters.altered)
            switches[change.dpid][meter.number] = meter
        for made in change.removed:
            switches[change.dpid].pop(compiled(made).key, None)
        for made in change.added:
            entry = compiled(made)
            switches[change.dpid][entry.key] = entry
        for number in change.meters.gone:
            del switches[change.dpid][number]


def change(core: ControlCore, changes: list[Change]) -> list[SwitchChange]:
    """Put changes in force as the running controller does; return what the switches are told."""
    plan = plan_change(core, core.policy.snapshot.changed(changes), changes)
    told = list(plan.base)
    core.policy = plan.after
    for piece in plan.pieces():
        revisions = revise_flows(core, plan, piece)
        adopt(core, plan, revisions)
        told += revisions.switches
    return list(bundles(told))


def carry_out_effects(switches: Switches, effects: Iterable[Effect]) -> None:
    """Do to imagined switches what the answers to a packet do."""
    for effect in effects:
        if isinstance(effect, Install | Release | Add | Remove):
            entry = compiled(effect.entry)
            if isinstance(effect, Install | Add):
                switches[effect.dpid][entry.key] = entry
            else:
                switches[effect.dpid].pop(entry.key, None)


def entries_of_two_flows(core: ControlCore) -> bool:
    """Return whether translations made two connections indistinguishable at one vport."""
    seen = [(core.dpid_of(made.vport), compile_cached(made).key) for flow in core.flows for made in flow.entries()]
    return len(set(seen)) != len(seen)


@settings(max_examples=300, deadline=None)
@given(first_changes(), packets(), st.data())
def test_a_history_of_changes_ends_where_a_fresh_start_would(
    first: list[Change], met: list[tuple[str, Direction, FlowKey]], data: st.DataObject
) -> None:
    """M15: after any changes all flows are as the last policy makes them, and the switches have just their entries."""
    core = make_core(snapshot(*first))
    switches = wanted(core)
    told_apart = True
    for packet in met:
        carry_out_effects(switches, meet(core, *packet))
        told_apart = told_apart and not entries_of_two_flows(core)
    if data.draw(st.booleans()):
        carry_out_effects(switches, core.release(1.0))
    for _ in range(data.draw(st.integers(1, 3))):
        changes = data.draw(next_changes(core.policy.snapshot))
        if not changes:
            continue
        carry_out(switches, change(core, changes))
        carry_out_effects(switches, core.release(1.0))
        told_apart = told_apart and not entries_of_two_flows(core)
        assert disagreements(core, core.flows, core.policy.snapshot) == []
        if told_apart:
            assert switches == wanted(core)


def put(core: ControlCore, *changes: Change) -> list[SwitchChange]:
    """Put changes in force; return what the switches are told."""
    return change(core, list(changes))


def test_a_rule_that_looks_at_dscp_narrows_the_entries_that_left_it_open() -> None:
    """M15: packets of a live connection that such a rule would deny must not pass by an entry from before it."""
    core = make_core(snapshot(layer("a", 1), group("a", "g", OUT)))
    meet(core, "vm1", OUT, tcp())
    told = put(core, Change(kind="rules", key=("a", "g", "r"), value=rule("r", Deny(), ip_dscp="46")))
    outbound = [made for switch in told for made in switch.added if isinstance(made, CachedEntry) and made.vport == 101]
    assert [made.exact_dscp for made in outbound if made.direction is OUT] == [True]
    assert [made.vport for switch in told for made in switch.removed if isinstance(made, CachedEntry)] == [101, 102]


def test_a_rule_that_let_a_reply_pass_untranslated_is_remembered() -> None:
    """M15: the reply's verdict rests on a translating rule, although it was not translated, and falls with it."""
    nat = rule("n", Nat(edit=transposition({"ipv4_src": IP["ext"]})))
    core = make_core(snapshot(layer("a", 1, into=False), group("a", "g", IN, nat)))
    meet(core, "vm1", OUT, tcp(target="ext"))
    (flow,) = core.flows
    assert flow.plan.reply[-1].verdict.allow
    put(core, Change(kind="rules", key=("a", "g", "n"), value=None))
    (flow,) = core.flows
    assert not flow.plan.reply[-1].verdict.allow


def test_a_variant_does_not_outlive_its_verdict_when_its_connection_goes_on() -> None:
    """M15: where a connection's own verdict stays, that on its packets of another DSCP may still change."""
    marked = rule("marked", Allow(), ip_dscp="46")
    core = make_core(snapshot(layer("a", 1), group("a", "g", OUT, marked, rule("plain", Allow(), ip_dscp="0"))))
    meet(core, "vm1", OUT, tcp())
    meet(core, "vm1", OUT, tcp(ip_dscp="46"))
    assert [flow.parent for flow in core.flows] == [0, 1]
    denied = rule("marked", Deny(), ip_dscp="46")
    told = put(core, group("a", "g", OUT, denied, rule("plain", Allow(), priority=2, ip_dscp="0")))
    assert [flow.id for flow in core.flows] == [1]
    assert {made.vport for switch in told for made in switch.removed if isinstance(made, CachedEntry)} == {101, 102}


def test_a_vport_that_moves_takes_its_entries_along() -> None:
    """R12: the old switch loses the entries of connections that go on, and the new one has them at once."""
    core = make_core(snapshot())
    switches = wanted(core)
    carry_out_effects(switches, meet(core, "vm1", OUT, tcp(target="vm3")))
    moved = vport("vm3", "h1", 3)
    carry_out(switches, put(core, Change(kind="vports", key="vm3", value=moved)))
    assert len(core.flows) == 1 and switches == wanted(core)
    assert not any(entry.table in ("outbound", "inbound") and entry.idle_timeout_s for entry in switches[2].values())


def test_a_connection_that_an_edit_makes_look_like_another_leaves_that_one_alone() -> None:
    """Nobody ends an allowed connection by beginning one of the same addresses and ports."""
    core = make_core(
        snapshot(
            layer("a", 1),
            group(
                "a",
                "g",
                OUT,
                rule("edit", Rewrite(transposition({"l4_src": 443})), priority=2, ip_proto="tcp", l4_src="80"),
                rule("marked", Allow(), ip_dscp="46"),
            ),
        )
    )
    meet(core, "vm1", OUT, tcp(sport=80))
    meet(core, "vm1", OUT, tcp(sport=80, ip_dscp="46"))
    assert [flow.parent for flow in core.flows] == [0, 1]
    meet(core, "vm1", OUT, tcp(sport=443))
    assert [flow.key for flow in core.flows] == [tcp(sport=80), tcp(sport=80, ip_dscp="46"), tcp(sport=443)]


@pytest.mark.parametrize("many", [1, 1500])
def test_a_change_of_many_flows_goes_in_pieces(many: int) -> None:
    """However many flows are touched, each is walked again once and all of them end under the new policy."""
    core = make_core(snapshot(layer("a", 1), group("a", "g", OUT)))
    for number in range(many):
        meet(core, "vm1", OUT, tcp(sport=number + 1))
    denied = Change(kind="rules", key=("a", "g", "r"), value=rule("r", Deny()))
    plan = plan_change(core, core.policy.snapshot.changed([denied]), [denied])
    pieces = list(plan.pieces())
    assert sum(map(len, pieces)) == many and max(map(len, pieces)) <= 1000
    put(core, denied)
    assert len(core.flows) == many and not any(flow.plan.allow for flow in core.flows)


def test_a_copy_follows_its_vport_to_another_number() -> None:
    """M15: what rules of other vports say of a vport is said anew when that one changes."""
    rules = (layer("a", 1), group("a", "g", OUT, rule("copy", Mirror(vport="vm3"))))
    core = make_core(snapshot(*rules, Change(kind="vports", key="vm3", value=vport("vm3", "h1", 7))))
    meet(core, "vm1", OUT, tcp())
    put(core, Change(kind="vports", key="vm3", value=vport("vm3", "h1", 8)))
    assert len(core.flows) == 1 and disagreements(core, core.flows, core.policy.snapshot) == []

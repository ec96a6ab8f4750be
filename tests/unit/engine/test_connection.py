"""Walking connections: order of layers, state, translation, and the composed edit."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from ryu_apps.engine.connection import Plan, connect, connect_layers
from ryu_apps.engine.policy import compile_policy, recompile
from ryu_apps.engine.ruling import Ruling
from ryu_apps.engine.walk import steps, walk, walk_layers
from ryu_apps.model.action import Allow, Deny, Nat, Rewrite
from ryu_apps.model.fields import FIELDS
from ryu_apps.model.flow_key import FlowKey, reverse
from ryu_apps.model.policy import Change
from ryu_apps.model.rules import Direction, Scope
from ryu_apps.model.transposition import transposition
from tests.unit.policies import IN, IP, OUT, group, keys, layer, rule, rule_maps, snapshot, tcp


def _group_of(rules: object, layer_id: str, direction: Direction) -> Change:
    return group(layer_id, direction.value, direction, *rules.values())  # type: ignore[attr-defined]


@given(st.lists(rule_maps(), min_size=3, max_size=3), keys(), st.sampled_from([OUT, IN]))
def test_the_flat_edit_equals_the_layers_one_by_one(maps: list[object], key: FlowKey, direction: Direction) -> None:
    """M07: the composed transposition makes of a packet what the layers make of it in turn."""
    layers = [layer(f"l{n}", n) for n in range(3)]
    groups = [_group_of(rules, f"l{n}", direction) for n, rules in enumerate(maps)]
    policy = compile_policy(snapshot(*layers, *groups))
    view = policy.view(policy.snapshot.vports["vm1"], direction)
    verdict = walk(view, key)
    seen = key
    for ruling, at in steps(verdict, key):
        assert at == seen
        seen = ruling.edit.apply(seen)
    if verdict.allow:
        assert verdict.edit.apply(key) == seen


def test_inbound_walks_the_layers_in_reverse() -> None:
    """M05: two layers that set one field give opposite results by direction."""
    first, second = Rewrite(transposition({"ip_dscp": 10})), Rewrite(transposition({"ip_dscp": 20}))
    changes = [layer("a", 1), layer("b", 2)]
    for direction in (OUT, IN):
        changes += [group("a", direction.value, direction, rule("r", first, ip_proto="tcp"))]
        changes += [group("b", direction.value, direction, rule("r", second, ip_proto="tcp"))]
    policy = compile_policy(snapshot(*changes))
    vm1 = policy.snapshot.vports["vm1"]
    assert walk(policy.view(vm1, OUT), tcp()).edit == transposition({"ip_dscp": 20})
    assert walk(policy.view(vm1, IN), tcp()).edit == transposition({"ip_dscp": 10})


def test_a_deny_stops_the_walk() -> None:
    """M06: no layer behind the one that denies is asked, and the verdict names layer, group and rule."""
    policy = compile_policy(
        snapshot(layer("a", 1), layer("b", 2), group("a", "g", OUT, rule("no", Deny(), ip_proto="tcp")))
    )
    verdict = walk(policy.view(policy.snapshot.vports["vm1"], OUT), tcp())
    assert not verdict.allow
    assert [(r.layer, r.group, r.rule) for r in verdict.rulings] == [("a", "g", "no")]


def test_both_vports_of_a_local_connection_are_asked() -> None:
    """M25: the sender's outbound and the receiver's inbound rules both apply."""
    scope = Scope(vport="vm2")
    policy = compile_policy(
        snapshot(layer("a", 1), group("a", "g", IN, rule("no", Deny(), ip_proto="tcp"), scope=scope))
    )
    plan = connect(policy, "red", policy.snapshot.vports["vm1"], OUT, tcp())
    assert [(leg.vport, leg.direction, leg.verdict.allow) for leg in plan.forward] == [
        (101, OUT, True),
        (102, IN, False),
    ]
    assert plan.reply == ()


def test_a_reply_passes_a_stateful_layer_that_denies_inbound() -> None:
    """M08: what was begun outbound may be answered, and the rest of inbound stays denied."""
    policy = compile_policy(
        snapshot(
            layer("fw", 1, stateful=True, into=False),
            group("fw", "in", IN, rule("web", Allow(), ip_proto="tcp", l4_dst="80"), scope=Scope(vport="vm2")),
        )
    )
    vm1, vm2 = policy.snapshot.vports["vm1"], policy.snapshot.vports["vm2"]
    plan = connect(policy, "red", vm1, OUT, tcp())
    assert plan.allow and all(leg.verdict.allow for leg in plan.reply)
    assert [(leg.vport, leg.direction) for leg in plan.reply] == [(102, OUT), (101, IN)]
    unsolicited = connect(policy, "red", vm2, OUT, tcp("vm2", "vm1", 81, 40000))
    assert not unsolicited.allow


def test_a_stateless_layer_is_asked_about_replies() -> None:
    """M03: allowed out and denied in, where no state is kept."""
    policy = compile_policy(
        snapshot(layer("acl", 1, into=False), group("acl", "in", IN, rule("all", Allow()), scope=Scope(vport="vm2")))
    )
    plan = connect(policy, "red", policy.snapshot.vports["vm1"], OUT, tcp())
    assert plan.allow
    assert [leg.verdict.allow for leg in plan.reply] == [True, False]


@given(keys(), st.sampled_from([("ipv4_src", "l4_src"), ("ipv4_dst", "l4_dst")]), st.booleans())
def test_translation_is_undone_for_replies(key: FlowKey, fields: tuple[str, str], both: bool) -> None:
    """A reply to a translated connection reaches the VM as if nothing had been translated."""
    edits = {fields[0]: 0xC0000201}
    if both:
        edits[fields[1]] = 4444
    policy = compile_policy(
        snapshot(layer("nat", 1), group("nat", "g", OUT, rule("n", Nat(edit=transposition(edits)))))
    )
    plan = connect(policy, "red", policy.snapshot.vports["vm1"], OUT, key)
    legs = list(plan.legs(key))
    last, seen = legs[-1]
    assert last.vport == 101 and last.direction is IN
    assert last.verdict.edit.apply(seen) == reverse(key)


def test_rules_are_per_vport() -> None:
    """M03: the same tuple is allowed for one vport and denied for another."""
    policy = compile_policy(snapshot(layer("a", 1), group("a", "g", OUT, rule("no", Deny()), scope=Scope(vport="vm1"))))
    assert not walk(policy.view(policy.snapshot.vports["vm1"], OUT), tcp()).allow
    assert walk(policy.view(policy.snapshot.vports["vm2"], OUT), tcp()).allow


def test_groups_are_asked_by_priority_and_the_first_match_decides() -> None:
    """M04: a rule in a group of higher priority stands before any rule of a lower group."""
    policy = compile_policy(
        snapshot(
            layer("a", 1),
            group("a", "low", OUT, rule("no", Deny(), priority=1000), priority=1),
            group("a", "high", OUT, rule("yes", Allow(), priority=0, ip_proto="tcp"), priority=2),
        )
    )
    verdict = walk(policy.view(policy.snapshot.vports["vm1"], OUT), tcp())
    assert verdict.allow and verdict.rulings[0].group == "high"


@given(rule_maps(), rule_maps(), keys())
def test_recompiling_a_changed_group_equals_compiling_anew(first: object, second: object, key: FlowKey) -> None:
    """A policy carried from snapshot to snapshot says what a fresh compilation says."""
    before = snapshot(layer("a", 1), _group_of(first, "a", OUT))
    change = _group_of(second, "a", OUT)
    old = compile_policy(before)
    vm1 = before.vports["vm1"]
    walk(old.view(vm1, OUT), key)
    carried, fresh = recompile(old, before.changed([change]), [change]), compile_policy(before.changed([change]))
    names = [
        [(r.layer, r.group, r.rule) for r in walk(policy.view(vm1, OUT), key).rulings] for policy in (carried, fresh)
    ]
    assert names[0] == names[1]


def test_a_destination_translated_to_another_vport_is_asked_there() -> None:
    """Delivery follows the edited MAC, and the policy of the vport that gets the packet applies."""
    nat = Nat(edit=transposition({"ipv4_dst": IP["vm2"], "eth_dst": 0x020000000002}))
    policy = compile_policy(snapshot(layer("lb", 1), group("lb", "g", OUT, rule("n", nat, ipv4_dst="10.0.0.99"))))
    key = tcp(target="vm3", ipv4_dst="10.0.0.99")
    plan = connect(policy, "red", policy.snapshot.vports["vm1"], OUT, key)
    legs = list(plan.legs(key))
    assert [leg.vport for leg, _ in legs] == [101, 102, 102, 101]
    assert FIELDS["ipv4_src"].get(legs[-1][0].verdict.edit.apply(legs[-1][1])) == FIELDS["ipv4_dst"].get(key)


def _told(plan: Plan) -> list[tuple[object, ...]]:
    """Return what a plan says, apart from the objects that say it."""
    return [
        (leg.vport, leg.direction, leg.verdict.allow, leg.verdict.edit, leg.exact_dscp, _rules(leg.verdict.rulings))
        for leg in (*plan.forward, *plan.reply)
    ]


def _rules(rulings: Iterable[Ruling]) -> list[tuple[object, ...]]:
    return [(r.layer, r.group, r.rule, r.reason, r.edit) for r in rulings]


@given(st.lists(rule_maps(), min_size=4, max_size=4), st.booleans(), st.lists(keys(), min_size=1, max_size=12))
def test_what_is_remembered_equals_walking_the_layers(
    maps: list[object], stateful: bool, packets: list[FlowKey]
) -> None:
    """The fast path, which remembers plans by relevant bits, gives the answers of the layers one by one."""
    changes = [layer("a", 1, stateful=True), layer("b", 2, stateful=stateful)]
    changes += [_group_of(maps[2 * n + m], name, way) for n, name in enumerate("ab") for m, way in enumerate((OUT, IN))]
    policy, plain = compile_policy(snapshot(*changes)), compile_policy(snapshot(*changes))
    vm1 = policy.snapshot.vports["vm1"]
    for key in packets:
        for way in (OUT, IN):
            assert _told(connect(policy, "red", vm1, way, key)) == _told(connect_layers(plain, "red", vm1, way, key))


@given(st.lists(rule_maps(), min_size=2, max_size=2), st.lists(keys(), min_size=1, max_size=12))
def test_a_remembered_verdict_is_the_one_that_the_layers_give(maps: list[object], packets: list[FlowKey]) -> None:
    """Packets that agree in the bits that rules look at have one verdict."""
    changes = [layer("a", 1), layer("b", 2), _group_of(maps[0], "a", OUT), _group_of(maps[1], "b", OUT)]
    policy = compile_policy(snapshot(*changes))
    view = policy.view(policy.snapshot.vports["vm1"], OUT)
    for key in packets:
        assert walk(view, key) is walk_layers(view, key)

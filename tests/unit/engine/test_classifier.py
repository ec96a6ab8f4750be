"""The classifier against plain linear matching."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st
from immutables import Map

from ryu_apps.engine.classifier import classify, reclassify
from ryu_apps.model.flow_key import FlowKey
from ryu_apps.model.rules import Direction, Group, Rule, Scope
from tests.unit.policies import keys, rule_maps


def _linear(rules: Mapping[str, Rule], key: FlowKey) -> str | None:
    found = [rule for rule in rules.values() if rule.match.matches(key)]
    return min(found, key=lambda rule: rule.precedence).id if found else None


def _group(rules: Map[str, Rule]) -> Group:
    return Group(id="g", layer="l", direction=Direction.OUTBOUND, scope=Scope(), priority=1, rules=rules)


@given(rule_maps(max_size=12), st.lists(keys(), min_size=1, max_size=5))
def test_the_best_rule_is_the_one_linear_matching_finds(rules: Map[str, Rule], packets: list[FlowKey]) -> None:
    """The classifier and a linear search over the same rules name the same rule."""
    compiled = classify(_group(rules))
    for key in packets:
        ruling = compiled.find(*key)
        assert (ruling.rule if ruling else None) == _linear(rules, key)


@given(rule_maps(), rule_maps(), st.lists(keys(), min_size=1, max_size=5))
def test_rules_put_and_deleted_one_by_one_leave_what_a_whole_build_makes(
    first: Map[str, Rule], second: Map[str, Rule], packets: list[FlowKey]
) -> None:
    """Changing a group rule by rule gives the same answers as compiling the result."""
    rules, compiled = first, classify(_group(first))
    for name in sorted({*first, *second}):
        old, new = rules.get(name), second.get(name)
        rules = rules.set(name, new) if new else rules.delete(name)
        compiled = reclassify(compiled, _group(rules), old, new)
    for key in packets:
        ruling = compiled.find(*key)
        assert (ruling.rule if ruling else None) == _linear(second, key)


def test_shapes_and_not_rules_make_the_number_of_lookups() -> None:
    """A thousand rules of one mask shape stand in one hash table."""
    from ryu_apps.model.action import Allow
    from tests.unit.policies import rule

    rules = Map({f"r{n}": rule(f"r{n}", Allow(), n, ip_proto="tcp", l4_dst=str(n)) for n in range(1000)})
    compiled = classify(_group(rules))
    assert [len(classifier.shapes) for classifier in compiled.families.values()] == [1, 1]

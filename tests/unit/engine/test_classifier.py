"""The classifier against plain linear matching."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from immutables import Map

from ryu_apps.engine.classifier import classify
from ryu_apps.engine.reclassify import MANY_PLACES, reclassify
from ryu_apps.model.flow_key import Family, FlowKey
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


@given(rule_maps(), rule_maps(), st.lists(keys(), min_size=1, max_size=5), st.sampled_from([1, 2, 64]))
def test_rules_put_and_deleted_one_by_one_leave_what_a_whole_build_makes(
    first: Map[str, Rule], second: Map[str, Rule], packets: list[FlowKey], many: int
) -> None:
    """Changing a group rule by rule gives the same answers as compiling the result, however many places are many."""
    rules, compiled = first, classify(_group(first))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ryu_apps.engine.reclassify.MANY_PLACES", many)
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


def test_rules_put_one_by_one_stand_in_two_tables_and_are_found_in_each() -> None:
    """A new rule copies few places and never the table of a large group, and what was put is found at once."""
    from ryu_apps.model.action import Allow
    from tests.unit.policies import rule, tcp

    rules = Map({f"r{n}": rule(f"r{n}", Allow(), n, ip_proto="tcp", l4_dst=str(n)) for n in range(1000)})
    compiled, copied = classify(_group(rules)), 0
    for n in range(1000, 1000 + 3 * MANY_PLACES):
        new = rule(f"r{n}", Allow(), n, ip_proto="tcp", l4_dst=str(n))
        before = {id(shape) for shape in compiled.families[Family.IPV4].shapes}
        compiled = reclassify(compiled, _group(rules), None, new)
        shapes = compiled.families[Family.IPV4].shapes
        assert len(shapes) <= 2
        copied += sum(len(shape.table) for shape in shapes if id(shape) not in before)
        for port in (n, n - 1, n - MANY_PLACES - 1, 500):
            found = compiled.find(*tcp(dport=port))
            assert found is not None and found.rule == f"r{port}"
    assert copied < 3 * MANY_PLACES * MANY_PLACES + 3 * 1200

"""Which flows a policy change can alter: found from the rules changed, not by walking every flow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from immutables import Map

from ryu_apps.control.flow_table import FlowTable
from ryu_apps.control.unified_flow import UnifiedFlow
from ryu_apps.engine.classifier import GroupClassifier, classify
from ryu_apps.engine.connection import Leg, Plan
from ryu_apps.engine.policy import Policy
from ryu_apps.engine.view import applies
from ryu_apps.model.flow_key import Family, FlowKey
from ryu_apps.model.match import Condition
from ryu_apps.model.network import Route, Segment, Vport
from ryu_apps.model.policy import Change, GroupKey
from ryu_apps.model.pool_checks import pool_rules
from ryu_apps.model.rules import Group, Rule
from ryu_apps.model.turns import Pause, in_turns, no_pause

# Above so many new conditions, holding each flow against all of them at once is cheaper than a sweep for each.
_MOST_SWEEPS = 32


class Delta(NamedTuple):
    """The rules of a group that are new or changed, with their conditions; compiled only if they are many."""

    group: Group
    conditions: tuple[tuple[Family, Condition], ...]
    compiled: GroupClassifier | None


def affected(
    flows: FlowTable, before: Policy, after: Policy, changes: Iterable[Change], pause: Pause = no_pause
) -> dict[int, UnifiedFlow]:
    """Return the flows, by id, whose verdicts or delivery the changes can alter.

    No flow is looked at before the last pause, so that none is forgotten that begins in one.
    """
    changes = tuple(changes)
    differing = [None if change.group_key is None else _of_group(before, after, change, pause) for change in changes]
    found: dict[int, UnifiedFlow] = {}
    for change, rules in zip(changes, differing, strict=True):
        if change.kind in ("layers", "hosts"):
            return {flow.id: flow for flow in flows}
        if change.kind in ("vports", "segments", "routes"):
            found |= _by_network(flows, before, after, change)
        elif change.kind == "nat_pools":
            found |= _by_pool(flows, after, str(change.key))
        elif change.group_key is not None and rules is not None:
            found |= _by_group(flows, after, change.group_key, *rules)
    return found


def _by_network(flows: FlowTable, before: Policy, after: Policy, change: Change) -> dict[int, UnifiedFlow]:
    """Return the flows at a changed vport, and those of the segments in which delivery may differ."""
    found: dict[int, UnifiedFlow] = {}
    segments: set[int] = set()
    for policy in (before, after):
        resource = policy.snapshot.get(change.kind, change.key)
        names: tuple[str, ...] = ()
        if isinstance(resource, Vport):
            names = resource.segments
            found |= {flow.id: flow for flow in flows.at_vport(resource.number)}
            found |= {flow.id: flow for flow in _treated_by(flows, resource.number)}
        elif isinstance(resource, Segment):
            names = (resource.id,)
        elif isinstance(resource, Route):
            names = (resource.segment,)
        segments |= {policy.snapshot.segments[name].number for name in names if name in policy.snapshot.segments}
    return found | {flow.id: flow for flow in flows if flow.segment in segments}


def _by_pool(flows: FlowTable, after: Policy, name: str) -> dict[int, UnifiedFlow]:
    """Return the flows of which a rule has spoken that takes sources from a pool."""
    found: dict[int, UnifiedFlow] = {}
    for group, rule, pool in pool_rules(after.snapshot.groups.values()):
        if pool == name:
            found |= {flow.id: flow for flow in flows.by_rule((group.layer, group.id, rule.id))}
    return found


def _treated_by(flows: FlowTable, vport: int) -> Iterator[UnifiedFlow]:
    """Yield the flows of which a vport gets copies, or that are sent to it by a rule."""
    for plan in flows.plans():
        if any(leg.verdict.treatment is not None and leg.verdict.treatment.names(vport) for leg in _legs(plan)):
            yield from flows.of_plan(plan)


def _by_group(
    flows: FlowTable, after: Policy, key: GroupKey, gone: set[str], delta: Delta | None
) -> dict[int, UnifiedFlow]:
    """Return the flows in which a rule that is gone has spoken, and those that a new one may meet."""
    found = {flow.id: flow for name in gone for flow in flows.by_rule((*key, name))}
    found |= _by_dscp(flows, after, key)
    if delta is not None:
        asking = {plan: where for plan in flows.plans() if (where := _where(plan, after, delta.group))}
        classifier = delta.compiled
        for flow in _candidates(flows, asking, delta.conditions):
            if classifier is None:  # Most single rules have no candidate, and need not be compiled for it.
                classifier = classify(delta.group)
            if flow.id not in found and _meets(flow, asking[flow.plan], delta.group.layer, classifier):
                found[flow.id] = flow
    return found


def _by_dscp(flows: FlowTable, after: Policy, key: GroupKey) -> dict[int, UnifiedFlow]:
    """Return the flows with entries that leave DSCP open where a group's rules look at it now."""
    classifier = after.classifiers.get(key)
    if classifier is None or not classifier.uses_dscp:
        return {}
    group = after.snapshot.groups[key]
    wider = [plan for plan in flows.plans() if any(_leaves_dscp_open(leg, after, group) for leg in _legs(plan))]
    return {flow.id: flow for plan in wider for flow in flows.of_plan(plan)}


def _leaves_dscp_open(leg: Leg, after: Policy, group: Group) -> bool:
    vport = after.vports.get(leg.vport)
    return not leg.exact_dscp and vport is not None and applies(group, vport, leg.direction)


def _legs(plan: Plan) -> tuple[Leg, ...]:
    return (*plan.forward, *plan.reply)


def _of_group(before: Policy, after: Policy, change: Change, pause: Pause) -> tuple[set[str], Delta | None]:
    """Return the ids of the rules that are gone or changed, and the rules that are new or changed, compiled."""
    key = change.group_key or ("", "")
    old, new = before.snapshot.groups.get(key), after.snapshot.groups.get(key)
    had: Map[str, Rule] = old.rules if old else Map()
    has: Map[str, Rule] = new.rules if new else Map()
    alone = change.kind == "rules"
    if old is None or new is None or (not alone and replace(old, rules=Map()) != replace(new, rules=Map())):
        gone, come = set(had), dict(has)
    else:
        names = [str(change.key[-1])] if alone else {*had, *has}
        differing = [name for name in in_turns(names, pause) if had.get(name) != has.get(name)]
        gone = {name for name in differing if name in had}
        come = {name: has[name] for name in differing if name in has}
    if new is None or not come:
        return gone, None
    conditions = tuple(condition for name in come for condition in come[name].match.conditions)
    group = replace(new, rules=Map(come))
    if len(conditions) <= _MOST_SWEEPS:
        return gone, Delta(group, conditions, None)
    every = len(come) == len(new.rules)
    return gone, Delta(group, conditions, after.classifiers[key] if every else classify(group, pause))


def _where(plan: Plan, after: Policy, group: Group) -> list[int]:
    """Return the positions of the legs in which the group's layer could come to another ruling."""
    return [position for position, leg in enumerate(_legs(plan)) if _asks(leg, after, group)]


def _asks(leg: Leg, after: Policy, group: Group) -> bool:
    vport = after.vports.get(leg.vport)
    if vport is None or not applies(group, vport, leg.direction):
        return False
    for ruling in leg.verdict.rulings:
        if ruling.layer == group.layer:
            return ruling.reason != "established"
    return False  # An earlier layer denies, and the change does not reach it.


def _candidates(
    flows: FlowTable, asking: Mapping[Plan, list[int]], conditions: tuple[tuple[Family, Condition], ...]
) -> Iterator[UnifiedFlow]:
    """Yield flows that may meet a new condition: found by sweeps where their keys say so, else all of their plan."""
    plain = [plan for plan in asking if not plan.edits]
    if len(conditions) > _MOST_SWEEPS:
        plain = []
    for plan in asking:
        if plan.edits or len(conditions) > _MOST_SWEEPS:
            yield from flows.of_plan(plan)
    for reply in (False, True):
        here = [plan for plan in plain if any((position >= len(plan.forward)) is reply for position in asking[plan])]
        for family, condition in conditions if here else ():
            yield from flows.matching(family, condition, here, reply=reply)


def _meets(flow: UnifiedFlow, where: Iterable[int], layer: str, classifier: GroupClassifier) -> bool:
    """Return whether a new rule matches the flow at one of these legs, as its layer sees the packet there."""
    wanted = set(where)
    for position, (leg, key) in enumerate(flow.legs()):
        if position in wanted and classifier.find(*_as_seen_by(layer, leg, key)) is not None:
            return True
    return False


def _as_seen_by(layer: str, leg: Leg, key: FlowKey) -> FlowKey:
    """Return the key as a layer of a leg sees it, after the edits of the layers before it."""
    for ruling in leg.verdict.rulings:
        if ruling.layer == layer:
            return key
        if ruling.edit.edits:
            key = ruling.edit.apply(key)
    return key

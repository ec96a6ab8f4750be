"""What must hold between a rule's action and the vports that the rule is for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from ryu_apps.model.action import (
    Encapsulate,
    Mirror,
    PopVlanTag,
    PushVlanTag,
    Reroute,
    SkipChain,
    ThroughChain,
    named_vport,
)
from ryu_apps.model.blame import Misfit, fault_of
from ryu_apps.model.chain import Chain
from ryu_apps.model.chain_checks import refuses_chain, segment_field
from ryu_apps.model.errors import FieldError
from ryu_apps.model.network import Host, Segment, Vport
from ryu_apps.model.policy import Change, Snapshot
from ryu_apps.model.rules import Direction, Group, Rule

_BOUND: Final = (Mirror, Reroute, Encapsulate, PushVlanTag, PopVlanTag, SkipChain, ThroughChain)


_SENDING: Final = (Reroute, Encapsulate, SkipChain, ThroughChain)
# What of an action does not suit a vport.
_BLAMED: Final = {Mirror: ".vport", Reroute: ".vport", Encapsulate: ".remote_ip", ThroughChain: ".chain"}


class Bound(NamedTuple):
    """A rule whose action asks something of the vports that it is for, with its group."""

    group: Group
    rule: Rule

    @property
    def name(self) -> str:
        """The rule's full name."""
        return f"rule {self.group.layer}/{self.group.id}/{self.rule.id}"


def bound_rules(groups: Iterable[Group]) -> Iterator[Bound]:
    """Yield the rules that copy, route, encapsulate or tag, or say which functions are passed."""
    for group in groups:
        for rule in group.rules.values():
            if isinstance(rule.action, _BOUND):
                yield Bound(group, rule)


def action_faults(after: Snapshot, change: Change) -> Iterator[FieldError]:
    """Yield what is wrong with the actions of a group or rule that was put."""
    group = after.groups.get(change.group_key) if change.group_key else None
    if group is None:
        return
    if isinstance(change.value, Rule):
        rules = [change.value] if isinstance(change.value.action, _BOUND) else []
        bound, path = [Bound(group, rule) for rule in rules], "action"
    else:
        bound, path = list(bound_rules([group])), ""
    for each in bound:
        here = path or f"rules[{each.rule.id}].action"
        yield from _rule_faults(after, each, here)


def _rule_faults(after: Snapshot, bound: Bound, path: str) -> Iterator[FieldError]:
    action, group = bound.rule.action, bound.group
    if isinstance(action, _SENDING) and group.direction is not Direction.OUTBOUND:
        yield FieldError(path, "only packets from a VM can be sent elsewhere: put it into an outbound group")
    target = named_vport(action)
    if target is not None and target not in after.vports:
        yield FieldError(f"{path}.vport", f"there is no vport {target!r}")
        return
    if isinstance(action, ThroughChain) and action.chain not in after.chains:
        yield FieldError(f"{path}.chain", f"there is no chain {action.chain!r}")
        return
    field = _BLAMED.get(type(action), "")
    for vport in after.vports.values():
        misfit = _refuses(after, bound, vport)
        if misfit is not None:
            yield FieldError(f"{path}{field}", misfit.reason)
            return


def network_faults(after: Snapshot, changes: Iterable[Change]) -> Iterator[FieldError]:
    """Yield what changed hosts, segments, vports and chains would leave inconsistent in rules."""
    changes = tuple(changes)
    if not any(isinstance(change.value, Host | Segment | Vport | Chain) for change in changes):
        return
    for bound in bound_rules(after.groups.values()):
        for vport in after.vports.values():
            misfit = _refuses(after, bound, vport)
            if misfit is not None:
                yield fault_of(changes, misfit, bound.name)
                return


def _refuses(after: Snapshot, bound: Bound, vport: Vport) -> Misfit | None:
    """Return why a rule cannot do its work for a vport, None when it can or is not for that vport."""
    scope, action = bound.group.scope, bound.rule.action
    if scope.vport not in (None, vport.id) or scope.tenant not in (None, vport.tenant):
        return None
    here, place = f"host {vport.host!r} of vport {vport.id!r}", ("vports", vport.id)
    if isinstance(action, Reroute) and after.hosts[vport.host].hairpin is not None:
        reason = f"{here} has a hairpin, and functions say where its frames go"
        return Misfit(reason, {("hosts", vport.host): "hairpin", place: "host"})
    if isinstance(action, Encapsulate):
        without = Misfit(f"{here} has no tunnel", {("hosts", vport.host): "tunnel", place: "host"})
        return None if after.hosts[vport.host].tunnel else without
    if isinstance(action, ThroughChain):
        return refuses_chain(after, action.chain, vport)
    if isinstance(action, PushVlanTag | PopVlanTag):
        return _refuses_tag(after, action, vport)
    target = after.vports.get(named_vport(action) or "")
    if target is None or target.id == vport.id:
        return None
    if target.host != vport.host:
        there = f"vport {target.id!r} is on host {target.host!r}"
        reason = f"{there}, and vport {vport.id!r} of the group on {vport.host!r}"
        return Misfit(reason, {("vports", target.id): "host", place: "host"})
    if isinstance(action, Reroute) and not set(vport.segments) & set(target.segments):
        reason = f"vport {target.id!r} is in no segment of vport {vport.id!r}, which the group is for"
        return Misfit(reason, {("vports", each.id): segment_field(each) for each in (target, vport)})
    return None


def _refuses_tag(after: Snapshot, action: PushVlanTag | PopVlanTag, vport: Vport) -> Misfit | None:
    """Return why packets of a vport can have no customer tag beside the network's own, None when they can."""
    if vport.segment is None:
        return Misfit(f"vport {vport.id!r} is a trunk, whose tags name its segments", {("vports", vport.id): "kind"})
    if isinstance(action, PushVlanTag) and after.segments[vport.segment].vlan == 0:
        # Alone on the wire it would be taken for the tag of a segment.
        reason = f"segment {vport.segment!r} of vport {vport.id!r} has no tag outside, to stand before a customer's"
        return Misfit(reason, {("segments", vport.segment): "vlan", ("vports", vport.id): "segment"})
    return None


def users_of_vport(after: Snapshot, name: str) -> Iterator[FieldError]:
    """Yield the rules that name a vport."""
    for bound in bound_rules(after.groups.values()):
        if named_vport(bound.rule.action) == name:
            yield FieldError("id", f"{bound.name} names it")

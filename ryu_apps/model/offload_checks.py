"""What must hold between rules that demand to be carried out by NICs, and what these NICs can do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from ryu_apps.model.errors import FieldError
from ryu_apps.model.network import Host, Vport
from ryu_apps.model.policy import Change, Snapshot
from ryu_apps.model.rules import Group, Offload, Rule

# What of a changed resource puts a rule before a NIC that cannot carry it out.
_BLAMED: Final = {Host: "limits.actions", Vport: "host"}


def demand_faults(after: Snapshot, changes: Iterable[Change]) -> Iterator[FieldError]:
    """Yield the rules put with `offload` on whose action the NIC of a host that they apply to does not support."""
    for change in changes:
        group = after.groups.get(change.group_key) if change.group_key and change.value is not None else None
        if group is None:
            continue
        alone = isinstance(change.value, Rule)
        rules = [change.value] if isinstance(change.value, Rule) else group.rules.values()
        for rule, message in _impossible(after, group, rules, after.vports.values()):
            yield FieldError("offload" if alone else f"rules[{rule.id}].offload", message)


def limit_faults(after: Snapshot, changes: Iterable[Change]) -> Iterator[FieldError]:
    """Yield what in changed hosts and vports would leave rules with `offload` on impossible."""
    blamed = {change.key: path for change in changes if (path := _BLAMED.get(type(change.value)))}
    concerned = [vport for vport in after.vports.values() if vport.id in blamed or vport.host in blamed]
    if not any(after.hosts[vport.host].limits.actions is not None for vport in concerned):
        return
    for group in after.groups.values():
        for rule, message in _impossible(after, group, group.rules.values(), concerned):
            path = _BLAMED[Host] if _BLAMED[Host] in blamed.values() else _BLAMED[Vport]
            yield FieldError(path, f"rule {group.layer}/{group.id}/{rule.id}: {message}")


def _impossible(
    after: Snapshot, group: Group, rules: Iterable[Rule], vports: Iterable[Vport]
) -> Iterator[tuple[Rule, str]]:
    """Yield the rules of a group that a NIC of these vports cannot carry out although they demand it, and why not."""
    scope = group.scope
    demanding = [rule for rule in rules if rule.offload is Offload.ON]
    if not demanding:
        return
    met = [vport for vport in vports if scope.vport in (None, vport.id) and scope.tenant in (None, vport.tenant)]
    hosts = {vport.host: vport for vport in met if after.hosts[vport.host].limits.actions is not None}
    for rule in demanding:
        for name, vport in sorted(hosts.items()):
            missing = after.hosts[name].limits.lacks(rule.needs)
            if missing is not None:
                message = f"the NIC of host {name!r}, where vport {vport.id!r} is, does not support {missing!r}"
                yield rule, message
                break

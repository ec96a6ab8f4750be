"""Which hosts a change needs, and whether their switches have the ports that it names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ryu_apps.model.errors import FieldError
from ryu_apps.model.nat_pool import NatPool
from ryu_apps.model.network import Host, Route, Segment, Vport
from ryu_apps.model.policy import Change, Resource, Snapshot
from ryu_apps.model.rules import Group, Layer
from ryu_apps.pipeline.entry import MOST_PORT_NO


def needed_hosts(before: Snapshot, after: Snapshot, changes: Iterable[Change]) -> set[str]:
    """Return the hosts whose switches must confirm the changes."""
    found: set[str] = set()
    for change in changes:
        if change.kind == "hosts":
            found |= _left_behind(before, after, str(change.key))
        for snapshot in (before, after):
            group = snapshot.groups.get(change.group_key) if change.group_key else None
            resource = group or snapshot.get(change.kind, change.key)
            if resource is not None:
                found |= _hosts_of(snapshot, resource)
    return found


def _left_behind(before: Snapshot, after: Snapshot, name: str) -> set[str]:
    """Return the host if a change takes its datapath from it, which must then lose its entries."""
    old, new = before.hosts.get(name), after.hosts.get(name)
    return {name} if old is not None and (new is None or new.dpid != old.dpid) else set()


def _hosts_of(snapshot: Snapshot, resource: Resource) -> set[str]:
    vports = snapshot.vports.values()
    match resource:
        case Vport():
            return {resource.host}
        case Group(scope=scope):
            return {v.host for v in vports if scope.vport in (None, v.id) and scope.tenant in (None, v.tenant)}
        case NatPool():
            return {resource.host}
        case Layer():
            return {vport.host for vport in vports}
        case Route(segment=name) | Segment(id=name):
            return {vport.host for vport in vports if name in vport.segments}
        case _:
            return set()


def missing_ports(
    after: Snapshot, changes: Iterable[Change], datapaths: Mapping[int, Mapping[str, int]]
) -> list[FieldError]:
    """Return a fault for each port that a change names and its connected switch does not have."""
    faults: list[FieldError] = []
    for change in changes:
        match change.value:
            case Vport(host=host, port=port, synthetic=synthetic):
                named, dpid = {"port": port}, after.hosts[host].dpid
                named |= {} if synthetic is None else {"synthetic": synthetic}
            case Host(uplink=uplink, tunnel=tunnel, dpid=dpid):
                named = {path: name for path, name in (("uplink", uplink), ("tunnel", tunnel)) if name is not None}
            case _:
                continue
        for path, name in named.items():
            if dpid in datapaths and name not in datapaths[dpid]:
                faults.append(FieldError(path, f"the switch has no port {name!r}"))
            elif dpid in datapaths and path in ("port", "synthetic") and datapaths[dpid][name] > MOST_PORT_NO:
                faults.append(FieldError(path, f"{name!r} is the switch's own port, which no VF is at"))
    return faults

"""Which hosts a change needs, and whether their switches have the ports that it names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from ryu_apps.model.chain import Chain, Function
from ryu_apps.model.errors import FieldError
from ryu_apps.model.hairpin import AnyHairpin, Hairpin, Outlet
from ryu_apps.model.nat_pool import NatPool
from ryu_apps.model.network import Host, Route, Segment, Vport
from ryu_apps.model.policy import Change, Resource, Snapshot
from ryu_apps.model.rules import Group, Layer
from ryu_apps.pipeline.entry import MOST_PORT_NO

# At these a VM or a function is: the switch's own port cannot be one of them.
_AT_PORTS: Final = frozenset({"port", "synthetic", "subinterface"})


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
    """Return the host if a change takes a datapath from it, which must then lose its entries."""
    old, new = before.hosts.get(name), after.hosts.get(name)
    return {name} if old is not None and (new is None or not set(old.dpids) <= set(new.dpids)) else set()


def _hosts_of(snapshot: Snapshot, resource: Resource) -> set[str]:
    vports = snapshot.vports.values()
    match resource:
        case Vport() | Outlet():
            return {resource.host}
        case Group(scope=scope):
            return {v.host for v in vports if scope.vport in (None, v.id) and scope.tenant in (None, v.tenant)}
        case NatPool():
            return {resource.host}
        case Function():
            return {one.host for one in resource.instances}
        case Chain(segment=name):
            return {vport.host for vport in vports if name in vport.segments}
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
        for path, dpid, name in _named_ports(after, change):
            if dpid in datapaths and name not in datapaths[dpid]:
                faults.append(FieldError(change.path + path, f"the switch has no port {name!r}"))
            elif dpid in datapaths and path in _AT_PORTS and datapaths[dpid][name] > MOST_PORT_NO:
                faults.append(FieldError(change.path + path, f"{name!r} is the switch's own port, which no VF is at"))
    return faults


def _named_ports(after: Snapshot, change: Change) -> Iterator[tuple[str, int, str]]:
    """Yield each port that a change names: its field, its datapath and its name."""
    named: list[tuple[str, int, str | None]] = []
    match change.value:
        case Vport(host=host, port=port, synthetic=synthetic, subinterface=subinterface):
            named += [("port", after.hosts[host].dpid, port), ("synthetic", after.hosts[host].dpid, synthetic)]
            named.append(("subinterface", after.hosts[host].function_dpid, subinterface))
        case Host(uplink=uplink, tunnel=tunnel, dpid=dpid, hairpin=hairpin):
            named += [("uplink", dpid, uplink), ("tunnel", dpid, tunnel)]
            named += _hairpin_ports(dpid, hairpin) if hairpin is not None else []
        case Outlet(host=host, port=port, chain_port=chain_port):
            hairpin = after.hosts[host].hairpin
            if hairpin is not None and hairpin.network_port is not None:
                named.append(("port", hairpin.network_port.dpid, port))
                named.append(("chain_port", after.hosts[host].function_dpid, chain_port))
        case Function(instances=instances):
            for one in instances:
                path, dpid = f"instances.{one.id}", after.hosts[one.host].function_dpid
                named += [(f"{path}.inside", dpid, one.inside), (f"{path}.outside", dpid, one.outside)]
    for path, dpid, name in named:
        if name is not None:
            yield path, dpid, name


def _hairpin_ports(dpid: int, hairpin: AnyHairpin) -> list[tuple[str, int, str | None]]:
    named: list[tuple[str, int, str | None]] = []
    if isinstance(hairpin, Hairpin):
        named.append(("hairpin.cable", dpid, hairpin.cable))
        named.append(("hairpin.function_port.cable", hairpin.function_port.dpid, hairpin.function_port.cable))
    second = hairpin.network_port
    return named if second is None else [*named, ("hairpin.network_port.uplink", second.dpid, second.uplink)]

"""What must hold between resources: every reference exists, no VLAN or MAC is owned twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from ryu_apps.model.action_checks import action_faults, network_faults, users_of_vport
from ryu_apps.model.address import format_mac
from ryu_apps.model.chain_checks import chain_orphans, chain_references, chain_users
from ryu_apps.model.chain_clashes import chain_clashes
from ryu_apps.model.errors import Conflict, FieldError, Invalid, NotFound
from ryu_apps.model.hairpin_checks import hairpin_clashes, hairpin_orphans, hairpin_references, outlet_users
from ryu_apps.model.nat_pool import NatPool
from ryu_apps.model.network import Host, Route, Segment, Vport
from ryu_apps.model.offload_checks import demand_faults, limit_faults
from ryu_apps.model.policy import Change, Snapshot
from ryu_apps.model.pool_checks import (
    missing_of_pool,
    pool_faults,
    pool_orphans,
    taken_by_others,
    users_of_place,
    users_of_pool,
)
from ryu_apps.model.rules import Group


def check(before: Snapshot, changes: Iterable[Change]) -> Snapshot:
    """Return the snapshot after the changes; an error names every field at fault, and nothing has changed.

    NotFound: a delete of what is not there. Invalid: a reference to what does not exist.
    Conflict: a VLAN, MAC, dpid or port owned twice, or a delete of what others refer to.
    """
    changes = tuple(changes)
    _check_presence(before, changes)
    after = before.changed(changes)
    for change in changes:
        if change.value is None:
            _raise(Conflict, "it is in use", _users(after, change))
        if change.value is None and change.kind == "vports":
            _raise(Conflict, "it is in use", users_of_vport(after, str(change.key)))
        if change.value is None and change.kind == "nat_pools":
            _raise(Conflict, "it is in use", users_of_pool(after, str(change.key)))
        if change.value is None:
            _raise(Conflict, "it is in use", users_of_place(after, change))
    _raise(Conflict, "it is in use", outlet_users(after, changes))
    _raise(Conflict, "it is in use", chain_users(after, changes))
    for change in changes:
        if change.value is not None:
            _raise(Invalid, "it refers to what does not exist", _dangling(after, change.value), change.path)
            _raise(Invalid, "it does not fit the host", hairpin_references(after, change.value), change.path)
            _raise(Invalid, "it does not fit", chain_references(after, change.value), change.path)
            _raise(Conflict, "it takes what another owns", _clashes(after, change.value), change.path)
            _raise(Conflict, "it takes what another owns", hairpin_clashes(after, change.value), change.path)
            _raise(Conflict, "it takes what another owns", chain_clashes(after, change.value), change.path)
            _raise(Conflict, "it is in use", _orphans(before, after, change), change.path)
            _raise(Conflict, "it is in use", hairpin_orphans(before, after, change.value), change.path)
            _raise(Conflict, "it is in use", chain_orphans(before, after, change), change.path)
            _raise(Invalid, "the action cannot be carried out", action_faults(after, change), change.path)
            _raise(Invalid, "the action cannot be carried out", pool_faults(after, change), change.path)
    _raise(Conflict, "rules could not be carried out", network_faults(after, changes))
    _raise(Conflict, "NAT pools could not serve", pool_orphans(after, changes))
    _raise(Invalid, "the NIC cannot do it", demand_faults(after, changes))
    _raise(Conflict, "rules demand more of the NIC", limit_faults(after, changes))
    return after


def _check_presence(before: Snapshot, changes: Iterable[Change]) -> None:
    """Raise NotFound for a delete of what is not there, and for a rule whose group is not there."""
    put: set[object] = set()
    for change in changes:
        match change.key:
            case (layer, group, _) if before.get("groups", (layer, group)) is None and (layer, group) not in put:
                raise NotFound(f"there is no group {layer}/{group}")
        if change.value is None and before.get(change.kind, change.key) is None:
            raise NotFound(f"there is no {change.kind.removesuffix('s')} {_name(change.key)}")
        put.add(change.key)


def _name(key: object) -> str:
    return "/".join(key) if isinstance(key, tuple) else str(key)


def _raise(error: type[Conflict] | type[Invalid], message: str, faults: Iterable[FieldError], path: str = "") -> None:
    found = tuple(FieldError(path + fault.path, fault.message) for fault in faults)
    if found:
        raise error(message, found)


def _missing(path: str, kind: str, key: str) -> FieldError:
    return FieldError(path, f"there is no {kind} {key!r}")


def _dangling(after: Snapshot, value: object) -> Iterator[FieldError]:
    match value:
        case Segment() if value.tenant not in after.tenants:
            yield _missing("tenant", "tenant", value.tenant)
        case Vport():
            yield from _vport_references(after, value)
        case Route():
            if value.segment not in after.segments:
                yield _missing("segment", "segment", value.segment)
            if value.vport is not None and value.vport not in after.vports:
                yield _missing("vport", "vport", value.vport)
            elif value.vport is not None and value.segment not in after.vports[value.vport].segments:
                yield FieldError("vport", f"vport {value.vport!r} is not a member of segment {value.segment!r}")
        case NatPool():
            yield from missing_of_pool(after, value)
        case Group():
            if value.layer not in after.layers:
                yield _missing("layer", "layer", value.layer)
            if value.scope.vport is not None and value.scope.vport not in after.vports:
                yield _missing("applies_to.vport", "vport", value.scope.vport)
            if value.scope.tenant is not None and value.scope.tenant not in after.tenants:
                yield _missing("applies_to.tenant", "tenant", value.scope.tenant)


def _vport_references(after: Snapshot, vport: Vport) -> Iterator[FieldError]:
    if vport.host not in after.hosts:
        yield _missing("host", "host", vport.host)
    else:
        yield from _host_ports(after.hosts[vport.host], vport)
    if vport.tenant not in after.tenants:
        yield _missing("tenant", "tenant", vport.tenant)
    for name in vport.segments:
        path = "trunk" if vport.segment is None else "segment"
        segment = after.segments.get(name)
        if segment is None:
            yield _missing(path, "segment", name)
        elif segment.tenant != vport.tenant:
            yield FieldError(path, f"segment {name!r} belongs to another tenant")
        elif vport.segment is None and not segment.vlan:
            yield FieldError(path, f"segment {name!r} has no VLAN that a trunk could carry")


def _named_ports(vport: Vport) -> Iterator[tuple[str, str]]:
    """Yield the ports of a vport, each after the path at which it is named."""
    yield from zip(("port", "synthetic"), vport.ports, strict=False)


def _host_ports(host: Host, vport: Vport) -> Iterator[FieldError]:
    for path, port in _named_ports(vport):
        for role, taken in (("uplink", host.uplink), ("tunnel", host.tunnel)):
            if port == taken:
                yield FieldError(path, f"{port!r} is the {role} of host {vport.host!r}")


def _clashes(after: Snapshot, value: object) -> Iterator[FieldError]:
    match value:
        case Segment():
            for segment in after.segments.values():
                if segment.id != value.id and segment.number == value.number:
                    yield FieldError("number", f"segment {segment.id!r} has this number")
                if segment.id != value.id and segment.vlan == value.vlan is not None:
                    yield FieldError("vlan", f"segment {segment.id!r} has this VLAN")
                if segment.id != value.id and segment.vni == value.vni is not None:
                    yield FieldError("vni", f"segment {segment.id!r} has this VNI")
            for vport in after.vports.values():
                if vport.vlan == value.vlan:
                    yield FieldError("vlan", f"vport {vport.id!r} has this VLAN")
        case Vport():
            yield from _vport_clashes(after, value)
        case Route():
            for route in after.routes.values():
                if route.id != value.id and (route.segment, route.eth_dst) == (value.segment, value.eth_dst):
                    yield FieldError("eth_dst", f"route {route.id!r} has this segment and MAC")
        case NatPool():
            yield from taken_by_others(after, value)


def _vport_clashes(after: Snapshot, value: Vport) -> Iterator[FieldError]:
    for segment in after.segments.values():
        if segment.vlan == value.vlan:
            yield FieldError("vlan", f"segment {segment.id!r} has this VLAN")
    for other in after.vports.values():
        # Most have nothing in common; a restart asks this of every pair.
        single = value.synthetic is None and other.synthetic is None
        apart = other.vlan != value.vlan and other.mac != value.mac and single and other.port != value.port
        if apart or other.id == value.id:
            continue
        if other.vlan == value.vlan:
            yield FieldError("vlan", f"vport {other.id!r} has this VLAN")
        for path, port in _named_ports(value) if other.host == value.host else ():
            if port in other.ports:
                yield FieldError(path, f"vport {other.id!r} is on this port")
        shared = set(other.segments) & set(value.segments)
        if other.mac == value.mac and shared:
            message = f"vport {other.id!r} has {format_mac(value.mac)} in segment {min(shared)!r}"
            yield FieldError("mac", message)


def _users(after: Snapshot, change: Change) -> Iterator[FieldError]:
    """Name what still refers to a resource that is to be deleted."""
    key = change.key
    refers: dict[str, list[tuple[str, bool]]] = defaultdict(list)
    for vport in after.vports.values():
        used = {"hosts": {vport.host}, "tenants": {vport.tenant}, "segments": set(vport.segments)}
        refers["vport"].append((vport.id, key in used.get(change.kind, ())))
    for segment in after.segments.values():
        refers["segment"].append((segment.id, change.kind == "tenants" and segment.tenant == key))
    for route in after.routes.values():
        named = {"segments": route.segment, "vports": route.vport}.get(change.kind)
        refers["route"].append((route.id, named is not None and named == key))
    for group in after.groups.values():
        scope = {"vports": group.scope.vport, "tenants": group.scope.tenant, "layers": group.layer}.get(change.kind)
        refers["group"].append((f"{group.layer}/{group.id}", scope is not None and scope == key))
    for kind, found in refers.items():
        for name, uses in found:
            if uses:
                yield FieldError("id", f"{kind} {name!r} refers to it")


def _orphans(before: Snapshot, after: Snapshot, change: Change) -> Iterator[FieldError]:
    """Name what a changed resource would leave inconsistent in others that refer to it."""
    if before.get(change.kind, change.key) is None:
        return
    match change.value:
        case Host(id=name, uplink=uplink, tunnel=tunnel):
            for vport in after.vports.values():
                for path, port in (("uplink", uplink), ("tunnel", tunnel)) if vport.host == name else ():
                    if port in vport.ports:
                        yield FieldError(path, f"vport {vport.id!r} is on this port")
        case Segment(id=name, tenant=tenant, vlan=vlan):
            for vport in after.vports.values():
                if name in vport.segments and vport.tenant != tenant:
                    yield FieldError("tenant", f"vport {vport.id!r} of another tenant is in it")
                if name in vport.trunk and not vlan:
                    yield FieldError("vlan", f"the trunk of vport {vport.id!r} needs a VLAN")
        case Vport(id=name, segments=segments):
            for route in after.routes.values():
                if route.vport == name and route.segment not in segments:
                    yield FieldError("segment", f"route {route.id!r} needs it in segment {route.segment!r}")

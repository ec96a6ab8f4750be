"""What must hold between hairpins, sub-interfaces and outlets: every frame has one way, and it goes by a function."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ryu_apps.model.errors import FieldError
from ryu_apps.model.hairpin import Hairpin, Outlet, nic_ports
from ryu_apps.model.network import Host, MissPath, Segment, Vport, VportKind
from ryu_apps.model.policy import Change, Snapshot

_NO_HAIRPIN = "host {!r} has no hairpin, and so no sub-interfaces"


def hairpin_references(after: Snapshot, value: object) -> Iterator[FieldError]:
    """Yield what of a put resource does not fit the hairpin that it is put to."""
    match value:
        case Host():
            yield from _host_faults(value)
        case Vport() if value.host in after.hosts:
            yield from _vport_faults(after, after.hosts[value.host], value)
        case Outlet():
            yield from _outlet_faults(after, value)


def _host_faults(host: Host) -> Iterator[FieldError]:
    hairpin = host.hairpin
    if hairpin is None:
        return
    for path in ("uplink", "tunnel"):
        if getattr(host, path) is not None:
            yield FieldError(path, "a host with a hairpin has no way out but the cable")
    if host.miss is MissPath.VM:
        yield FieldError("miss", "on a host with a hairpin misses go to the PF")
    for place, (path, dpid) in enumerate(_datapaths(host)):
        if dpid in host.dpids[:place]:
            yield FieldError(path, "is the dpid of another port of this NIC")


def _datapaths(host: Host) -> list[tuple[str, int]]:
    """Return the datapaths of a host in order, each with the field that names it."""
    others = {} if host.hairpin is None else nic_ports(host.hairpin)
    return [("dpid", host.dpid), *((f"hairpin.{name}.dpid", dpid) for name, dpid in others.items())]


def _is_one_datapath(host: Host) -> bool:
    """Return whether VFs and sub-interfaces of a host are ports of one datapath."""
    return host.hairpin is not None and host.function_dpid == host.dpid


def _at_a_vf(vport: Vport, at: Mapping[str, str]) -> Iterator[FieldError]:
    """Yield that a sub-interface is the port of a VF; at names who is at which port."""
    if vport.subinterface is not None and vport.subinterface in at:
        yield FieldError("subinterface", f"vport {at[vport.subinterface]!r} is at this port")


def _vport_faults(after: Snapshot, host: Host, vport: Vport) -> Iterator[FieldError]:
    hairpin = host.hairpin
    if hairpin is None:
        if vport.subinterface is not None:
            yield FieldError("subinterface", _NO_HAIRPIN.format(host.id))
        return
    if vport.kind is VportKind.TRUNK:
        yield FieldError("kind", f"host {host.id!r} has a hairpin: functions know frames by their VF and by no tag")
    if vport.subinterface is None and not _has_chain(after, vport):
        where = f"host {host.id!r}, which has a hairpin, in a segment without a chain"
        yield FieldError("subinterface", f"is required on {where}")
    elif isinstance(hairpin, Hairpin) and vport.subinterface == hairpin.function_port.cable:
        yield FieldError("subinterface", f"{vport.subinterface!r} is the cable of host {host.id!r}")
    elif _is_one_datapath(host):
        yield from _at_a_vf(vport, {vport.port: vport.id})
    if vport.synthetic is not None:
        yield FieldError("synthetic", f"host {host.id!r} has a hairpin, and its misses go to the PF")
    if isinstance(hairpin, Hairpin) and vport.port == hairpin.cable:
        yield FieldError("port", f"{vport.port!r} is the cable of host {host.id!r}")


def _has_chain(after: Snapshot, vport: Vport) -> bool:
    """Return whether all segments of a vport have chains."""
    found = [after.segments.get(name) for name in vport.segments]
    return all(segment is not None and segment.chain is not None for segment in found)


def _outlet_faults(after: Snapshot, outlet: Outlet) -> Iterator[FieldError]:
    host, segment = after.hosts.get(outlet.host), after.segments.get(outlet.segment)
    network = host.hairpin.network_port if host is not None and host.hairpin is not None else None
    if host is None:
        yield FieldError("host", f"there is no host {outlet.host!r}")
    elif network is None:
        yield FieldError("host", f"host {outlet.host!r} has no hairpin with a network port")
    elif outlet.port == network.uplink:
        yield FieldError("port", f"{outlet.port!r} is the uplink of host {outlet.host!r}")
    if segment is None:
        yield FieldError("segment", f"there is no segment {outlet.segment!r}")
    elif segment.vlan is None:
        yield FieldError("segment", f"segment {outlet.segment!r} has no VLAN of its own by which it could leave")


def hairpin_clashes(after: Snapshot, value: object) -> Iterator[FieldError]:
    """Yield what a put resource takes that another owns: a datapath, a sub-interface, an outlet."""
    match value:
        case Host():
            for other in after.hosts.values():
                if other.id != value.id:
                    yield from _same_datapath(value, other)
        case Vport():
            if value.subinterface is not None:
                yield from _shared_ports(after, value)
            for outlet in after.outlets.values():
                if value.mac in outlet.macs and outlet.segment in value.segments:
                    yield FieldError("mac", f"outlet {outlet.id!r} lets functions send with it")
        case Outlet():
            # A function that sends with a VM's MAC would be that VM to the network.
            owners = {vport.mac: vport.id for vport in after.vports.values() if value.segment in vport.segments}
            for number, mac in enumerate(value.macs):
                if mac in owners:
                    yield FieldError(f"macs[{number}]", f"it is the MAC of vport {owners[mac]!r}")
            for outlet in after.outlets.values():
                if outlet.id == value.id or outlet.host != value.host:
                    continue
                if outlet.segment == value.segment:
                    yield FieldError("segment", f"outlet {outlet.id!r} lets it out of this host")
                if outlet.port == value.port:
                    yield FieldError("port", f"outlet {outlet.id!r} is on this port")


def _shared_ports(after: Snapshot, value: Vport) -> Iterator[FieldError]:
    """Yield what a VF has as its port or sub-interface that another has as its own, of either kind on one datapath."""
    one_datapath = _is_one_datapath(after.hosts[value.host])
    for vport in after.vports.values():
        if vport.id == value.id or vport.host != value.host:
            continue
        if vport.subinterface == value.subinterface:
            yield FieldError("subinterface", f"it is the sub-interface of vport {vport.id!r}")
        if one_datapath:
            yield from _at_a_vf(value, {vport.port: vport.id})
        if one_datapath and vport.subinterface == value.port:
            yield FieldError("port", f"it is the sub-interface of vport {vport.id!r}")


def _same_datapath(value: Host, other: Host) -> Iterator[FieldError]:
    for path, dpid in _datapaths(value):
        if dpid in other.dpids:
            yield FieldError(path, f"host {other.id!r} has this dpid")


def hairpin_orphans(before: Snapshot, after: Snapshot, value: object) -> Iterator[FieldError]:
    """Yield what a changed host or segment would leave inconsistent in vports and outlets that stay as they are."""
    match value:
        case Host():
            here = [vport for vport in after.vports.values() if vport.host == value.id]
            at = {vport.port: vport.id for vport in here} if _is_one_datapath(value) else {}
            for vport in here:
                if before.vports.get(vport.id) == vport:
                    for fault in (*_vport_faults(after, value, vport), *_at_a_vf(vport, at)):
                        yield FieldError("hairpin", f"vport {vport.id!r}: {fault.path}: {fault.message}")
            for outlet in after.outlets.values():
                if outlet.host == value.id and before.outlets.get(outlet.id) == outlet:
                    for fault in _outlet_faults(after, outlet):
                        yield FieldError("hairpin", f"outlet {outlet.id!r}: {fault.path}: {fault.message}")
        case Segment():
            for vport in after.vports.values():
                bare = vport.subinterface is None and after.hosts[vport.host].hairpin is not None
                if bare and value.id in vport.segments and value.chain is None:
                    yield FieldError("chain", f"vport {vport.id!r} has no sub-interface, and so needs one")
            for outlet in after.outlets.values():
                if outlet.segment == value.id and value.vlan is None and before.outlets.get(outlet.id) == outlet:
                    yield FieldError("vlan", f"outlet {outlet.id!r} needs one")


def outlet_users(after: Snapshot, changes: Iterable[Change]) -> Iterator[FieldError]:
    """Yield the outlets that refer to a host or segment that is to be deleted."""
    for change in changes:
        for outlet in after.outlets.values():
            if change.value is None and (change.kind, change.key) in (
                ("hosts", outlet.host),
                ("segments", outlet.segment),
            ):
                yield FieldError("id", f"outlet {outlet.id!r} refers to it")

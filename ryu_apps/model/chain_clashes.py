"""What functions and chains take for themselves: ports of NIC port 2, functions, VLANs, MACs; nobody else has them."""

from __future__ import annotations

from collections.abc import Iterator

from ryu_apps.model.address import format_mac
from ryu_apps.model.chain import Chain, Function, Instance
from ryu_apps.model.errors import FieldError
from ryu_apps.model.hairpin import Hairpin, Outlet
from ryu_apps.model.network import Segment, Vport
from ryu_apps.model.policy import Snapshot
from ryu_apps.model.probe_checks import probe_clashes


def chain_clashes(after: Snapshot, value: object) -> Iterator[FieldError]:
    """Yield what a put resource takes that another owns: a port of NIC port 2, a function, a VLAN, a MAC."""
    yield from probe_clashes(after, value)
    match value:
        case Function():
            for one in value.instances:
                yield from _instance_clashes(after, value, one)
        case Chain():
            yield from function_sharing(after, value)
            yield from _vlan_clashes(after, value)
        case Segment():
            yield from _vlan_of_a_chain(after, value)
        case Vport() | Outlet() if value.host in after.hosts:
            if isinstance(value, Vport):
                yield from _vlan_of_a_chain(after, value)
                yield from _mac_of_a_function(after, value)
            path, port = ("subinterface", value.subinterface) if isinstance(value, Vport) else (
                "chain_port", value.chain_port)  # fmt: skip
            for taken, owner in _ports_of(after, value.host, value):
                if port == taken:
                    yield FieldError(path, f"{port!r} is a port of {owner}")


def _instance_clashes(after: Snapshot, function: Function, one: Instance) -> Iterator[FieldError]:
    here = [(each, f"instances.{one.id}.{side}") for each, side in zip(one.ports, ("inside", "outside"), strict=True)]
    for taken, owner in _ports_of(after, one.host, function, one):
        for port, path in here:
            if port == taken:
                yield FieldError(path, f"{port!r} is a port of {owner}")
    owners = [(vport.mac, f"vport {vport.id!r}") for vport in after.vports.values()]
    # Of two on one host the switch could not tell which is meant.
    beside = [(other, name) for other, name in instances_of(after) if other is not one and other.host == one.host]
    owners += [(mac, name) for other, name in beside for mac in other.macs]
    for mac, owner in owners:
        if mac in one.macs:
            place = f"instances.{one.id}.macs[{one.macs.index(mac)}]"
            yield FieldError(place, f"{format_mac(mac)} is the MAC of {owner}")


def instances_of(after: Snapshot) -> Iterator[tuple[Instance, str]]:
    """Yield the instances of all functions, each with what it is called in a message."""
    for function in after.functions.values():
        for one in function.instances:
            yield one, f"instance {one.id!r} of function {function.id!r}"


def _mac_of_a_function(after: Snapshot, vport: Vport) -> Iterator[FieldError]:
    for one, name in instances_of(after):
        if vport.mac in one.macs:
            yield FieldError("mac", f"{name} sends with it")


def _ports_of(
    after: Snapshot, host_id: str, asking: object, instance: Instance | None = None
) -> Iterator[tuple[str, str]]:
    """Yield the ports of NIC port 2 of a host that are taken by others than who asks, with whose they are."""
    host = after.hosts.get(host_id)
    if host is not None and isinstance(host.hairpin, Hairpin):
        yield host.hairpin.function_port.cable, "the cable"
    for vport in after.vports.values():
        if vport.host == host_id and vport.subinterface is not None and vport is not asking:
            yield vport.subinterface, f"vport {vport.id!r}"
    for outlet in after.outlets.values():
        if outlet.host == host_id and outlet.chain_port is not None and outlet is not asking:
            yield outlet.chain_port, f"outlet {outlet.id!r}"
    for one, name in instances_of(after):
        if one.host == host_id and one is not instance:
            for port in one.ports:
                yield port, name


def function_sharing(after: Snapshot, chain: Chain) -> Iterator[FieldError]:
    """Yield the hops of a chain whose functions are in others and do not keep chains apart."""
    for number, name in enumerate(chain.hops):
        function = after.functions.get(name)
        if function is None or function.keeps_apart:
            continue
        for other in after.chains.values():
            if other.id != chain.id and name in other.hops:
                of = "" if other.tenant == chain.tenant else f" of tenant {other.tenant!r}"
                message = f"function {name!r} is in chain {other.id!r}{of}, and does not keep chains apart"
                yield FieldError(f"hops[{number}]", message)


def _vlan_clashes(after: Snapshot, chain: Chain) -> Iterator[FieldError]:
    if chain.vlan is None:
        return
    for other in after.chains.values():
        if other.id != chain.id and other.vlan == chain.vlan:
            yield FieldError("vlan", f"chain {other.id!r} has this VLAN")
    for vport in after.vports.values():
        if vport.vlan == chain.vlan:
            yield FieldError("vlan", f"vport {vport.id!r} has this VLAN")
    for segment in after.segments.values():
        if segment.vlan == chain.vlan:
            yield FieldError("vlan", f"segment {segment.id!r} has this VLAN")


def _vlan_of_a_chain(after: Snapshot, value: Segment | Vport) -> Iterator[FieldError]:
    for chain in after.chains.values():
        if chain.vlan == value.vlan is not None:
            yield FieldError("vlan", f"chain {chain.id!r} has this VLAN")

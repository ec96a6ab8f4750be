"""What must hold between functions, chains and the rest: every hop has one place, and frames pass each once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ryu_apps.model.action import ThroughChain
from ryu_apps.model.blame import Misfit
from ryu_apps.model.chain import MOST_CHAINS, Chain, Function
from ryu_apps.model.chain_clashes import function_sharing, instances_of
from ryu_apps.model.errors import FieldError
from ryu_apps.model.hairpin import Hairpin, Outlet
from ryu_apps.model.network import Host, Segment, Vport
from ryu_apps.model.policy import Change, Snapshot
from ryu_apps.model.probe_checks import probe_faults


def chain_references(after: Snapshot, value: object) -> Iterator[FieldError]:
    """Yield what a put resource says of functions and chains that does not exist or does not fit."""
    match value:
        case Function():
            yield from _function_faults(after, value)
        case Chain():
            yield from _chain_faults(after, value)
        case Segment(chain=str(name)):
            yield from _segment_faults(after, value, name)
        case Vport():
            yield from _vport_faults(after, value)
        case Outlet(chain_port=str()):
            yield from _outlet_faults(after, value)


def _function_faults(after: Snapshot, function: Function) -> Iterator[FieldError]:
    for one in function.instances:
        host = after.hosts.get(one.host)
        path = f"instances.{one.id}"
        if host is None:
            yield FieldError(f"{path}.host", f"there is no host {one.host!r}")
        elif not _leads_to_chains(host):
            yield FieldError(f"{path}.host", f"host {one.host!r} has no hairpin with a cable that leads to functions")
        if one.inside == one.outside:
            yield FieldError(f"{path}.outside", f"{one.outside!r} is its inside too")
        if one.macs and not function.rewriting:
            yield FieldError(f"{path}.macs", "a function that is not rewriting sends with no MAC of its own")
    yield from probe_faults(function)


def _leads_to_chains(host: Host) -> bool:
    """Return whether a host has the NIC port 2 on which chains are; a hairpin without a cable has none."""
    return isinstance(host.hairpin, Hairpin)


def _chain_faults(after: Snapshot, chain: Chain) -> Iterator[FieldError]:
    if chain.tenant not in after.tenants:
        yield FieldError("tenant", f"there is no tenant {chain.tenant!r}")
    segment = after.segments.get(chain.segment)
    if segment is None:
        yield FieldError("segment", f"there is no segment {chain.segment!r}")
    elif segment.tenant != chain.tenant:
        yield FieldError("segment", f"segment {chain.segment!r} belongs to another tenant")
    if chain.mark > MOST_CHAINS:
        yield FieldError("segment", f"segment {chain.segment!r} has {MOST_CHAINS} chains already")
    for number, name in enumerate(chain.hops):
        if name not in after.functions:
            yield FieldError(f"hops[{number}]", f"there is no function {name!r}")
        elif name in chain.hops[:number]:
            yield FieldError(f"hops[{number}]", f"a cycle: function {name!r} is a hop before")
    apart = [name for name in chain.hops if name in after.functions and after.functions[name].keeps_apart]
    if apart and chain.vlan is None:
        yield FieldError("vlan", f"is required: function {apart[0]!r} keeps chains apart by it")


def _segment_faults(after: Snapshot, segment: Segment, name: str) -> Iterator[FieldError]:
    chain = after.chains.get(name)
    if chain is None:
        yield FieldError("chain", f"there is no chain {name!r}")
    elif chain.segment != segment.id:
        yield FieldError("chain", f"chain {name!r} is of segment {chain.segment!r}")


def _vport_faults(after: Snapshot, vport: Vport) -> Iterator[FieldError]:
    host = after.hosts.get(vport.host)
    for name in vport.segments:
        segment = after.segments.get(name)
        if segment is not None and segment.chain is not None and host is not None and not _leads_to_chains(host):
            message = f"segment {name!r} has a chain, and host {vport.host!r} no hairpin with a cable that leads to it"
            yield FieldError("host", message)


def _outlet_faults(after: Snapshot, outlet: Outlet) -> Iterator[FieldError]:
    segment = after.segments.get(outlet.segment)
    if segment is not None and segment.chain is None:
        yield FieldError("chain_port", f"segment {outlet.segment!r} has no chain that could end there")
    host = after.hosts.get(outlet.host)
    if host is not None and not _leads_to_chains(host):
        yield FieldError("chain_port", f"host {outlet.host!r} has no hairpin with a cable, where chains are")


def chain_orphans(before: Snapshot, after: Snapshot, change: Change) -> Iterator[FieldError]:
    """Yield what a changed resource would leave inconsistent in functions, chains and what uses them."""
    value = change.value
    match value:
        case Function():
            for chain in after.chains.values():
                if value.id in chain.hops:
                    faults = (*_chain_faults(after, chain), *function_sharing(after, chain))
                    for fault in faults:
                        yield FieldError("keeps_apart", f"chain {chain.id!r}: {fault.message}")
            if not change.forced:
                yield from _removed_instances(before, value)
        case Chain():
            for segment in after.segments.values():
                if segment.chain == value.id and segment.id != value.segment:
                    yield FieldError("segment", f"segment {segment.id!r} has it for its chain")
            old = before.chains.get(value.id)
            if old is not None and old.segment != value.segment:
                for rule in _rules_through(after, value.id):
                    yield FieldError("segment", f"rule {rule} sends by it in segment {old.segment!r}")
        case Host() if not _leads_to_chains(value):
            for function in after.functions.values():
                if function.on(value.id):
                    yield FieldError("hairpin", f"function {function.id!r} has instances on it")
            for vport in after.vports.values():
                if vport.host == value.id:
                    for fault in _vport_faults(after, vport):
                        yield FieldError("hairpin", fault.message)
            for outlet in after.outlets.values():
                if outlet.host == value.id and outlet.chain_port is not None:
                    yield FieldError("hairpin", f"chains end at outlet {outlet.id!r}")
        case Host(hairpin=Hairpin(function_port=port)):
            path = "hairpin.function_port.cable"
            for one, name in instances_of(after):
                if one.host == value.id and port.cable in one.ports:
                    yield FieldError(path, f"{port.cable!r} is a port of {name}")
            for outlet in after.outlets.values():
                there = before.outlets.get(outlet.id) == outlet
                if there and (outlet.host, outlet.chain_port) == (value.id, port.cable):
                    yield FieldError(path, f"{port.cable!r} is a port of outlet {outlet.id!r}")
        case Segment():
            for chain in after.chains.values():
                if chain.segment == value.id and chain.tenant != value.tenant:
                    yield FieldError("tenant", f"chain {chain.id!r} of another tenant is in it")
            for vport in after.vports.values():
                if value.id in vport.segments:
                    for fault in _vport_faults(after, vport):
                        yield FieldError("chain", f"vport {vport.id!r}: {fault.message}")
            for outlet in after.outlets.values():
                if outlet.segment == value.id and outlet.chain_port is not None and value.chain is None:
                    yield FieldError("chain", f"chains end at outlet {outlet.id!r}")


def _removed_instances(before: Snapshot, function: Function) -> Iterator[FieldError]:
    """Yield the instances that a function would lose without having been drained."""
    old, kept = before.functions.get(function.id), {one.id for one in function.instances}
    for one in old.instances if old is not None else ():
        if one.id not in kept and one.weight and any(function.id in chain.hops for chain in before.chains.values()):
            yield FieldError(f"instances.{one.id}", "it gets new connections: drain it first, with weight 0")


def chain_users(after: Snapshot, changes: Iterable[Change]) -> Iterator[FieldError]:
    """Yield what refers to functions, chains and what they stand on that are to be deleted."""
    for change in changes:
        if change.value is not None:
            continue
        match change.kind, change.key:
            case "functions", name:
                yield from _in_use("chain", [c.id for c in after.chains.values() if name in c.hops])
            case "chains", name:
                yield from _in_use("segment", [s.id for s in after.segments.values() if s.chain == name])
                yield from _in_use("rule", list(_rules_through(after, str(name))))
            case "hosts", name:
                yield from _in_use("function", [f.id for f in after.functions.values() if f.on(str(name))])
            case "segments", name:
                yield from _in_use("chain", [c.id for c in after.chains.values() if c.segment == name])
            case "tenants", name:
                yield from _in_use("chain", [c.id for c in after.chains.values() if c.tenant == name])


def _in_use(kind: str, names: Iterable[str]) -> Iterator[FieldError]:
    for name in names:
        yield FieldError("id", f"{kind} {name!r} refers to it")


def _rules_through(after: Snapshot, chain: str) -> Iterator[str]:
    for group in after.groups.values():
        for rule in group.rules.values():
            if rule.action == ThroughChain(chain):
                yield f"{group.layer}/{group.id}/{rule.id}"


def segment_field(vport: Vport) -> str:
    """Return the field in which a vport says what segments it is in."""
    return "trunk" if vport.segment is None else "segment"


def refuses_chain(after: Snapshot, name: str, vport: Vport) -> Misfit | None:
    """Return why packets of a vport cannot take a chain, None when they can."""
    chain, place = after.chains.get(name), ("vports", vport.id)
    if chain is None:
        return Misfit(f"there is no chain {name!r}", {("chains", name): "id"})
    if vport.segments != (chain.segment,):
        reason = f"chain {name!r} is of segment {chain.segment!r}, and vport {vport.id!r} is not in that alone"
        return Misfit(reason, {place: segment_field(vport), ("chains", name): "segment"})
    if not _leads_to_chains(after.hosts[vport.host]):
        reason = f"host {vport.host!r} of vport {vport.id!r} has no hairpin with a cable that leads to functions"
        return Misfit(reason, {("hosts", vport.host): "hairpin", place: "host"})
    return None

"""What must hold between NAT pools and the rest: nobody else has their addresses, and rules find them on their host."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ryu_apps.model.action import named_pool
from ryu_apps.model.address import format_ip, format_mac
from ryu_apps.model.errors import FieldError
from ryu_apps.model.nat_pool import NatPool
from ryu_apps.model.network import Host, Route, Segment, Vport
from ryu_apps.model.policy import Change, Snapshot
from ryu_apps.model.rules import Direction, Group, Rule


def missing_of_pool(after: Snapshot, pool: NatPool) -> Iterator[FieldError]:
    """Yield what a pool refers to that does not exist, or is not fit for it."""
    host, segment = after.hosts.get(pool.host), after.segments.get(pool.segment)
    if host is None:
        yield FieldError("host", f"there is no host {pool.host!r}")
    elif host.uplink is None:
        yield FieldError("host", f"host {pool.host!r} has no uplink at which the addresses could be reached")
    if segment is None:
        yield FieldError("segment", f"there is no segment {pool.segment!r}")
    elif segment.vlan is None:
        yield FieldError("segment", f"segment {pool.segment!r} has no VLAN by which the outside knows it: give it one")


def taken_by_others(after: Snapshot, pool: NatPool) -> Iterator[FieldError]:
    """Yield each address and MAC of a pool that another station of its segment has."""
    for other in after.nat_pools.values():
        if other.id == pool.id or other.segment != pool.segment:
            continue
        for index, part in enumerate(pool.addresses):
            if any(part.overlaps(theirs) for theirs in other.addresses):
                yield FieldError(f"addresses[{index}]", f"NAT pool {other.id!r} has some of {part}")
        if other.mac == pool.mac:
            yield FieldError("mac", f"NAT pool {other.id!r} has {format_mac(pool.mac)}")
    for vport in after.vports.values():
        yield from _shared(pool, vport)
    for route in after.routes.values():
        if (route.segment, route.eth_dst) == (pool.segment, pool.mac):
            yield FieldError("mac", f"route {route.id!r} has {format_mac(pool.mac)}")


def _shared(pool: NatPool, vport: Vport) -> Iterator[FieldError]:
    if pool.segment not in vport.segments:
        return
    for version, address in vport.ips:
        if pool.has(version, address):
            yield FieldError("addresses", f"vport {vport.id!r} has {format_ip(version, address)}")
    if vport.mac == pool.mac:
        yield FieldError("mac", f"vport {vport.id!r} has {format_mac(pool.mac)}")


def pool_rules(groups: Iterable[Group]) -> Iterator[tuple[Group, Rule, str]]:
    """Yield the rules that take sources from a pool, each with its group and the pool's id."""
    for group in groups:
        for rule, pool in _naming_pools(group.rules.values()):
            yield group, rule, pool


def _naming_pools(rules: Iterable[Rule]) -> Iterator[tuple[Rule, str]]:
    for rule in rules:
        pool = named_pool(rule.action)
        if pool is not None:
            yield rule, pool


def users_of_pool(after: Snapshot, name: str) -> Iterator[FieldError]:
    """Yield the rules that name a pool."""
    for group, rule, pool in pool_rules(after.groups.values()):
        if pool == name:
            yield FieldError("id", f"rule {group.layer}/{group.id}/{rule.id} names it")


def users_of_place(after: Snapshot, change: Change) -> Iterator[FieldError]:
    """Yield the pools that are on a host or in a segment."""
    for pool in after.nat_pools.values():
        if {"hosts": pool.host, "segments": pool.segment}.get(change.kind) == change.key:
            yield FieldError("id", f"NAT pool {pool.id!r} refers to it")


def pool_faults(after: Snapshot, change: Change) -> Iterator[FieldError]:
    """Yield what is wrong with the pools that a group or rule which was put names."""
    group = after.groups.get(change.group_key) if change.group_key else None
    if group is None:
        return
    alone = isinstance(change.value, Rule)
    rules = [change.value] if isinstance(change.value, Rule) else group.rules.values()
    for rule, name in _naming_pools(rules):
        path = "action" if alone else f"rules[{rule.id}].action"
        if group.direction is not Direction.OUTBOUND:
            yield FieldError(f"{path}.source.pool", "a VM's own packets alone take from a pool: put it outbound")
        pool = after.nat_pools.get(name)
        reason = f"there is no NAT pool {name!r}" if pool is None else _unfit(after, group, pool)
        if reason is not None:
            yield FieldError(f"{path}.source.pool", reason)


def pool_orphans(after: Snapshot, changes: Iterable[Change]) -> Iterator[FieldError]:
    """Yield what a changed network would leave inconsistent in pools and in the rules that name them."""
    fields = {Host: "uplink", Segment: "vlan", Vport: "host", Route: "eth_dst", NatPool: "segment"}
    field = next((fields[type(change.value)] for change in changes if type(change.value) in fields), None)
    if field is None:
        return
    for pool in after.nat_pools.values():
        for fault in (*missing_of_pool(after, pool), *taken_by_others(after, pool)):
            yield FieldError(field, f"NAT pool {pool.id!r}: {fault.message}")
    for group, rule, name in pool_rules(after.groups.values()):
        reason = _unfit(after, group, after.nat_pools[name])
        if reason is not None:
            yield FieldError(field, f"rule {group.layer}/{group.id}/{rule.id}: {reason}")


def _unfit(after: Snapshot, group: Group, pool: NatPool) -> str | None:
    """Return why a pool cannot serve all vports that a group is for, None when it can."""
    here = f"NAT pool {pool.id!r} is on host {pool.host!r} in segment {pool.segment!r}"
    for vport in after.vports.values():
        if group.scope.vport not in (None, vport.id) or group.scope.tenant not in (None, vport.tenant):
            continue
        if vport.host != pool.host:
            return f"{here}, and vport {vport.id!r} of the group on host {vport.host!r}"
        if vport.segments != (pool.segment,):
            return f"{here}, and vport {vport.id!r} of the group is not in that segment alone"
    return None

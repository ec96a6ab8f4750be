"""The policy snapshot: everything that was asked for, as one frozen value with a generation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from immutables import Map

from ryu_apps.model.chain import MOST_CHAINS, Chain, Function
from ryu_apps.model.hairpin import Fail, Outlet
from ryu_apps.model.nat_pool import NatPool
from ryu_apps.model.network import Host, Route, Segment, Tenant, Vport
from ryu_apps.model.rules import Group, Layer, Rule

Resource = Host | Tenant | Segment | Vport | Route | Outlet | Function | Chain | NatPool | Layer | Group | Rule
GroupKey = tuple[str, str]
RuleKey = tuple[str, str, str]

KIND_OF: dict[type, str] = {
    Host: "hosts",
    Tenant: "tenants",
    Segment: "segments",
    Vport: "vports",
    Route: "routes",
    Outlet: "outlets",
    Function: "functions",
    Chain: "chains",
    NatPool: "nat_pools",
    Layer: "layers",
    Group: "groups",
    Rule: "rules",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One resource put (value given) or deleted (value None).

    A rule that is put or deleted alone has kind `rules` and the key (layer, group, rule).
    path is what stands before the paths of its faults, where a request makes several changes.
    forced: it is made although it breaks connections.
    """

    kind: str
    key: str | GroupKey | RuleKey
    value: Resource | None
    path: str = ""
    forced: bool = False

    @property
    def group_key(self) -> GroupKey | None:
        """The group that a change of kind groups or rules is in, None for other kinds."""
        return (self.key[0], self.key[1]) if isinstance(self.key, tuple) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All resources of one generation, in persistent maps; a change shares what it does not touch."""

    generation: int = 0
    hosts: Map[str, Host] = field(default_factory=Map)
    tenants: Map[str, Tenant] = field(default_factory=Map)
    segments: Map[str, Segment] = field(default_factory=Map)
    vports: Map[str, Vport] = field(default_factory=Map)
    routes: Map[str, Route] = field(default_factory=Map)
    outlets: Map[str, Outlet] = field(default_factory=Map)
    functions: Map[str, Function] = field(default_factory=Map)
    chains: Map[str, Chain] = field(default_factory=Map)
    nat_pools: Map[str, NatPool] = field(default_factory=Map)
    layers: Map[str, Layer] = field(default_factory=Map)
    groups: Map[GroupKey, Group] = field(default_factory=Map)

    def get(self, kind: str, key: str | GroupKey | RuleKey) -> Resource | None:
        """Return the resource, None when there is none."""
        match key:
            case (layer, group_id, rule):
                group = self.groups.get((layer, group_id))
                return None if group is None else group.rules.get(rule)
        resource: Resource | None = getattr(self, kind).get(key)
        return resource

    def changed(self, changes: Iterable[Change]) -> Snapshot:
        """Return the next generation with the changes made in their order, unchecked."""
        maps: dict[str, Map[Any, Any]] = {}
        for change in changes:
            kind, key, value = change.kind, change.key, change.value
            match key:
                case (layer, group_id, rule):
                    kind, key = "groups", (layer, group_id)
                    group = maps.get(kind, self.groups)[key]
                    rules = group.rules.delete(rule) if value is None else group.rules.set(rule, value)
                    value = replace(group, rules=rules)
            current = maps.get(kind, getattr(self, kind))
            if value is not None:
                current = current.set(key, value)
            elif key in current:
                current = current.delete(key)
            maps[kind] = current
        return replace(self, generation=self.generation + 1, **maps)

    def dpids(self) -> set[int]:
        """Return the datapaths of all hosts."""
        return {dpid for host in self.hosts.values() for dpid in host.dpids}

    def ordered_layers(self) -> tuple[Layer, ...]:
        """Return the layers in outbound order: ascending position, then id."""
        return tuple(sorted(self.layers.values(), key=lambda layer: (layer.position, layer.id)))

    def free_segment_number(self) -> int:
        """Return the lowest segment number not in use, from 1."""
        used = {segment.number for segment in self.segments.values()}
        return next(number for number in range(1, 65536) if number not in used)

    def closed_marks(self, segment: str) -> tuple[int, ...]:
        """Return the marks of a segment's chains that fail closed, in ascending order."""
        found = [chain for chain in self.chains.values() if chain.segment == segment and chain.fail is Fail.CLOSED]
        return tuple(sorted(chain.mark for chain in found))

    def free_mark(self, segment: str) -> int:
        """Return the lowest mark that no chain of a segment has, from 1; one above the most when all are taken."""
        used = {chain.mark for chain in self.chains.values() if chain.segment == segment}
        return next(mark for mark in range(1, MOST_CHAINS + 2) if mark not in used)

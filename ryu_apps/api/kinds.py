"""The kinds of resource that REST serves alike: one line each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ryu_apps.api.chain_schemas import ChainBody, FunctionBody
from ryu_apps.api.hairpin_schemas import OutletBody
from ryu_apps.api.rule_schemas import GroupBody, RuleBody
from ryu_apps.api.scalars import Body
from ryu_apps.api.schemas import (
    HostBody,
    LayerBody,
    NatPoolBody,
    RouteBody,
    SegmentBody,
    TenantBody,
    VportBody,
)
from ryu_apps.model.documents import parse_id
from ryu_apps.model.errors import FieldError, Invalid, NotFound
from ryu_apps.model.policy import Change, GroupKey, Resource, RuleKey, Snapshot

Key = str | GroupKey | RuleKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind: its name in paths, the word for one of it, its schema, and the kind that it lies in."""

    name: str
    one: str
    schema: type[Body]
    parent: Kind | None = None

    @property
    def collection(self) -> str:
        """The path template of all resources of the kind."""
        return f"{self.parent.item if self.parent else '/v1'}/{self.name}"

    @property
    def item(self) -> str:
        """The path template of one resource."""
        return f"{self.collection}/{{{self.one}}}"

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters of the item's path: what a key consists of."""
        return (*(self.parent.names if self.parent else ()), self.one)

    def key(self, params: Mapping[str, str]) -> Key:
        """Return the key of the resource that a path names."""
        return _key(tuple(params[name] for name in self.names))

    def new_key(self, params: Mapping[str, str]) -> Key:
        """Return the key for a resource that may be new; Invalid when a part of it cannot be an id."""
        try:
            parse_id(params[self.one])
        except ValueError as error:
            raise Invalid("the id cannot be accepted", [FieldError("id", str(error))]) from None
        return self.key(params)

    def members(self, snapshot: Snapshot, params: Mapping[str, str]) -> Mapping[str, Any]:
        """Return the resources of a collection by their last id; NotFound when its parent does not exist."""
        self.require_parent(snapshot, params)
        if self.name == "rules":
            return snapshot.groups[params["layer"], params["group"]].rules
        if self.name == "groups":
            layer = params["layer"]
            return {key[1]: group for key, group in snapshot.groups.items() if key[0] == layer}
        found: Mapping[str, Any] = getattr(snapshot, self.name)
        return found

    def require_parent(self, snapshot: Snapshot, params: Mapping[str, str]) -> None:
        """Raise NotFound when what the resource lies in does not exist."""
        if self.parent is not None:
            self.parent.require(snapshot, params)

    def require(self, snapshot: Snapshot, params: Mapping[str, str]) -> Resource:
        """Return the resource that a path names; NotFound when it or what it lies in does not exist."""
        self.require_parent(snapshot, params)
        found = snapshot.get(self.name, self.key(params))
        if found is None:
            raise NotFound(f"there is no {self.one} {params[self.one]!r}")
        return found

    def change(self, key: Key, value: Resource | None) -> Change:
        """Return the change that puts or deletes one resource of this kind."""
        return Change(kind=self.name, key=key, value=value)


def _key(parts: tuple[str, ...]) -> Key:
    match parts:
        case (first, second, third):
            return first, second, third
        case (first, second):
            return first, second
    return parts[0]


HOSTS: Final = Kind(name="hosts", one="host", schema=HostBody)
TENANTS: Final = Kind(name="tenants", one="tenant", schema=TenantBody)
SEGMENTS: Final = Kind(name="segments", one="segment", schema=SegmentBody)
VPORTS: Final = Kind(name="vports", one="vport", schema=VportBody)
ROUTES: Final = Kind(name="routes", one="route", schema=RouteBody)
OUTLETS: Final = Kind(name="outlets", one="outlet", schema=OutletBody)
FUNCTIONS: Final = Kind(name="functions", one="function", schema=FunctionBody)
CHAINS: Final = Kind(name="chains", one="chain", schema=ChainBody)
NAT_POOLS: Final = Kind(name="nat_pools", one="nat_pool", schema=NatPoolBody)
LAYERS: Final = Kind(name="layers", one="layer", schema=LayerBody)
GROUPS: Final = Kind(name="groups", one="group", schema=GroupBody, parent=LAYERS)
RULES: Final = Kind(name="rules", one="rule", schema=RuleBody, parent=GROUPS)

KINDS: Final = (
    HOSTS, TENANTS, SEGMENTS, VPORTS, ROUTES, OUTLETS, FUNCTIONS, CHAINS, NAT_POOLS, LAYERS, GROUPS, RULES,
)  # fmt: skip

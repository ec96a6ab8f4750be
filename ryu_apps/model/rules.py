"""Policy values: rules in groups, groups in layers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from immutables import Map

from ryu_apps.model.action import Action, Allow, Deny
from ryu_apps.model.match import Match


class Offload(str, Enum):
    """Whether the NIC is to handle the connections that a rule decides: as it comes, in any case, or never."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


class Direction(str, Enum):
    """From the VM or to the VM."""

    OUTBOUND = "outbound"
    INBOUND = "inbound"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One condition with an action; of all that match in a group the highest priority decides, then the lower id."""

    id: str
    priority: int
    match: Match
    action: Action
    idle_timeout_s: int | None = None
    offload: Offload = Offload.AUTO

    @property
    def precedence(self) -> tuple[int, str]:
        """Sort key: the first in ascending order decides."""
        return (-self.priority, self.id)

    @property
    def needs(self) -> frozenset[str]:
        """The names of actions that a NIC must support to carry the rule out; each can forward and drop."""
        return frozenset() if isinstance(self.action, Allow | Deny) else frozenset({self.action.name})


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a group applies to: one vport, one tenant's vports, or all when both are None."""

    vport: str | None = None
    tenant: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """An atomic set of rules of one direction; of a layer's groups the highest priority with a match decides."""

    id: str
    layer: str
    direction: Direction
    scope: Scope
    priority: int
    rules: Map[str, Rule]

    @property
    def precedence(self) -> tuple[int, str]:
        """Sort key: the first in ascending order decides."""
        return (-self.priority, self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One ordered stage of policy; outbound packets pass layers by ascending position, inbound in reverse."""

    id: str
    position: int
    stateful: bool
    owner: str
    default_allow: tuple[tuple[Direction, bool], ...]

    def allows_by_default(self, direction: Direction) -> bool:
        """Return what happens to a packet that no rule of the layer matches."""
        return dict(self.default_allow)[direction]

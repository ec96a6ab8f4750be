"""What a rule does with a packet that it matches; `name` is an action's word in documents."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, Final

from ryu_apps.model.transposition import Transposition


class RateUnit(Enum):
    """What a meter counts."""

    KBPS = "kbps"
    PPS = "pps"


class Per(Enum):
    """Who shares a meter: all connections that a rule decides at a vport, or one connection alone."""

    RULE = "rule"
    CONNECTION = "connection"


@dataclass(frozen=True, slots=True)
class Allow:
    """Go on to the next layer."""

    name: ClassVar = "allow"


@dataclass(frozen=True, slots=True)
class Deny:
    """Stop here and drop."""

    name: ClassVar = "deny"


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Set header fields and go on; a reply is not touched."""

    name: ClassVar = "rewrite"
    edit: Transposition


@dataclass(frozen=True, slots=True, kw_only=True)
class Nat:
    """Translate source, destination or both and go on; a reply is translated back (RFC 3022).

    The edit holds the fields to set: addresses, and ports and MACs where given.
    pool is the pool that the source is taken from, by id; None where the edit names it or leaves it as it is.
    """

    name: ClassVar = "nat"
    edit: Transposition
    pool: str | None = None


@dataclass(frozen=True, slots=True)
class PushVlanTag:
    """Put a customer's VLAN tag on, beneath the network's own, and go on; a reply's is taken off.

    A packet has at most one: another one that it had becomes this.
    """

    name: ClassVar = "push_vlan"

    vlan: int


@dataclass(frozen=True, slots=True)
class PopVlanTag:
    """Take a customer's VLAN tag off and go on; a reply gets it again."""

    name: ClassVar = "pop_vlan"


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """Pass no more than a rate, in kbit/s or packets/s, and drop the rest; a rate of 0 drops all.

    burst is what may come at once, in kbit or packets; it is counted per vport that the rule decides at.
    per: connection has it counted for each connection by itself; what belongs to none shares one meter of the rule.
    """

    name: ClassVar = "meter"

    unit: RateUnit
    rate: int
    burst: int
    per: Per = Per.RULE


DEFAULT_BURST_S: Final = 0.1
"""How much may come at once where nothing is said: so much of a second at the full rate."""

LEAST_BURST: Final = {RateUnit.KBPS: 120, RateUnit.PPS: 10}
"""And at least ten full Ethernet frames, in kbit, or ten packets."""


def default_burst(unit: RateUnit, rate: int) -> int:
    """Return the burst of a meter for which none is given."""
    return max(int(rate * DEFAULT_BURST_S), LEAST_BURST[unit])


@dataclass(frozen=True, slots=True)
class Mirror:
    """Send a copy, as the packet stands here, to a vport's port and go on."""

    name: ClassVar = "mirror"

    vport: str


@dataclass(frozen=True, slots=True)
class Reroute:
    """Go on, and be delivered to a vport whatever the destination MAC says."""

    name: ClassVar = "route"

    vport: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Encapsulate:
    """Go on, and leave by the host's tunnel port in VXLAN (RFC 7348) instead of being delivered.

    remote is (version, address) of the tunnel endpoint, vni the VXLAN network identifier.
    """

    name: ClassVar = "encapsulate"

    remote: tuple[int, int]
    vni: int


@dataclass(frozen=True, slots=True)
class SkipChain:
    """Go on, and be delivered on a host with a hairpin without its network functions, replies too."""

    name: ClassVar = "skip_chain"


@dataclass(frozen=True, slots=True)
class ThroughChain:
    """Go on, and pass the functions of a chain on the way; replies pass them the other way."""

    name: ClassVar = "chain"

    chain: str


@dataclass(frozen=True, slots=True)
class Prioritise:
    """Go on with another priority, 0 to 7, than the vport that sends; the highest goes first where room is short."""

    name: ClassVar = "priority"

    priority: int


Treating = Meter | Mirror | Reroute | Encapsulate | Prioritise | SkipChain | ThroughChain
"""Actions that do something with a packet beside editing its headers."""

Tagging = PushVlanTag | PopVlanTag
"""Actions on a customer's VLAN tag."""

Action = Allow | Deny | Rewrite | Nat | Tagging | Treating


def named_pool(action: Action) -> str | None:
    """Return the NAT pool that an action names, None for an action without."""
    return action.pool if isinstance(action, Nat) else None


def named_vport(action: Action) -> str | None:
    """Return the vport that an action names, None for an action without."""
    return action.vport if isinstance(action, Mirror | Reroute) else None

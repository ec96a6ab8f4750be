"""What a client may send of rules: conditions, actions, groups, as pydantic models; see `api.schemas`."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Discriminator, Field, Tag, ValidationInfo, field_validator

from ryu_apps.api.chain_schemas import ThroughChainBody
from ryu_apps.api.hairpin_schemas import SkipChainBody
from ryu_apps.api.scalars import (
    Body,
    FieldValue,
    Id,
    Ip,
    Kbps,
    Mac,
    Priority,
    TrafficPriority,
    Vlan,
    Vni,
    absent,
)
from ryu_apps.model.fields import FIELDS, parse_edit, parse_range


class MatchBody(Body):
    """The fields that a packet must have; none means every packet, ARP and neighbour discovery apart."""

    eth_dst: FieldValue = absent()
    eth_src: FieldValue = absent()
    vlan_vid: FieldValue = absent()
    eth_type: FieldValue = absent()
    ip_proto: FieldValue = absent()
    ip_dscp: FieldValue = absent()
    ipv4_src: FieldValue = absent()
    ipv4_dst: FieldValue = absent()
    ipv6_src: FieldValue = absent()
    ipv6_dst: FieldValue = absent()
    l4_src: FieldValue = absent()
    l4_dst: FieldValue = absent()
    icmpv4_type: FieldValue = absent()
    icmpv4_code: FieldValue = absent()
    icmpv6_type: FieldValue = absent()
    icmpv6_code: FieldValue = absent()
    arp_op: FieldValue = absent()
    arp_spa: FieldValue = absent()
    arp_tpa: FieldValue = absent()

    @field_validator("*")
    @classmethod
    def _understood(cls, value: int | str, info: ValidationInfo) -> int | str:
        field = FIELDS[str(info.field_name)]
        if field.ranged:
            parse_range(field, str(value))
        else:
            field.parse(str(value))
        return value


class SetBody(Body):
    """The fields to set, each to one value."""

    eth_dst: FieldValue = absent()
    eth_src: FieldValue = absent()
    ip_dscp: FieldValue = absent()
    ipv4_src: FieldValue = absent()
    ipv4_dst: FieldValue = absent()
    ipv6_src: FieldValue = absent()
    ipv6_dst: FieldValue = absent()
    l4_src: FieldValue = absent()
    l4_dst: FieldValue = absent()

    @field_validator("*")
    @classmethod
    def _understood(cls, value: int | str, info: ValidationInfo) -> int | str:
        parse_edit(FIELDS[str(info.field_name)], str(value))
        return value


class AllowBody(Body):
    """Go on to the next layer."""

    type: Literal["allow"]


class DenyBody(Body):
    """Drop."""

    type: Literal["deny"]


class RewriteBody(Body):
    """Set header fields and go on; a reply is not touched."""

    type: Literal["rewrite"]
    set: SetBody


class NatSideBody(Body):
    """What a destination becomes."""

    ip: Ip
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    mac: Mac | None = None


class NatSourceBody(Body):
    """What a source becomes: what is given, or a free address and port of a pool."""

    ip: Ip | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    mac: Mac | None = None
    pool: Id | None = None


class NatBody(Body):
    """Translate and go on; a reply is translated back. At least one side is given."""

    type: Literal["nat"]
    source: NatSourceBody | None = None
    destination: NatSideBody | None = None


class PushVlanBody(Body):
    """Put a customer's VLAN tag on beneath the network's own; a reply's is taken off."""

    type: Literal["push_vlan"]
    vlan: Vlan


class PopVlanBody(Body):
    """Take a customer's VLAN tag off; a reply gets it again."""

    type: Literal["pop_vlan"]


class MeterBody(Body):
    """Let no more pass than a rate, of kbit/s or of packets/s; burst in kbit or packets. A rate of 0 drops all.

    per: whether all connections of the rule share the rate, or each has it for itself."""

    type: Literal["meter"]
    per: Literal["rule", "connection"] = "rule"
    kbps: Kbps | None = None
    pps: Kbps | None = None
    burst: Annotated[int, Field(ge=1, le=4_000_000_000)] | None = None


class MirrorBody(Body):
    """Send a copy, as the packet stands at this layer, to a vport's port."""

    type: Literal["mirror"]
    vport: Id


class RouteActionBody(Body):
    """Deliver to a vport whatever the destination MAC says."""

    type: Literal["route"]
    vport: Id


class EncapsulateBody(Body):
    """Send in VXLAN to a tunnel endpoint instead of delivering."""

    type: Literal["encapsulate"]
    remote_ip: Ip
    vni: Vni


class PriorityBody(Body):
    """Go on with this priority instead of the sending vport's; where room is short, the highest goes first."""

    type: Literal["priority"]
    priority: TrafficPriority


class RuleBody(Body):
    """One condition with an action; of all rules of a group that match, the highest priority decides."""

    priority: Priority
    match: MatchBody
    action: Annotated[
        AllowBody
        | DenyBody
        | RewriteBody
        | NatBody
        | PushVlanBody
        | PopVlanBody
        | MeterBody
        | MirrorBody
        | RouteActionBody
        | EncapsulateBody
        | PriorityBody
        | SkipChainBody
        | ThroughChainBody,
        Field(discriminator="type"),
    ]
    idle_timeout_s: Annotated[int, Field(ge=1, le=65535)] | None = None
    offload: Literal["auto", "on", "off"] = "auto"


class GroupRuleBody(RuleBody):
    """A rule as it stands in a group."""

    id: Id


class ScopeBody(Body):
    """One vport, or one tenant's vports."""

    vport: Id | None = None
    tenant: Id | None = None


def _scope_tag(value: Any) -> str:
    return "one" if isinstance(value, dict | ScopeBody) else "all"


# What one request may ask for is bounded, because all misses wait while its rules are compiled.
MOST_RULES: Final = 16_384


class GroupBody(Body):
    """An atomic set of rules of one direction."""

    applies_to: Annotated[
        Annotated[Literal["all"], Tag("all")] | Annotated[ScopeBody, Tag("one")], Discriminator(_scope_tag)
    ] = "all"
    direction: Literal["outbound", "inbound"]
    priority: Priority
    rules: Annotated[list[GroupRuleBody], Field(max_length=MOST_RULES)]

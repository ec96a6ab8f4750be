"""What a client may send: names, types and ranges, as pydantic models.

They refuse unknown names and wrong types, and give the OpenAPI document its schemas.
What a value means is decided in `model.documents`.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Discriminator, Field, Tag, ValidationInfo, field_validator

from ryu_apps.api.chain_schemas import ThroughChainBody
from ryu_apps.api.hairpin_schemas import HairpinBody, SkipChainBody
from ryu_apps.api.scalars import (
    ActionName,
    Addresses,
    Body,
    Count,
    Dpid,
    FieldValue,
    Id,
    Ip,
    Kbps,
    Mac,
    MissRate,
    PortName,
    Ports,
    Priority,
    TrafficPriority,
    Verdict,
    Vlan,
    Vni,
    absent,
)
from ryu_apps.model.fields import FIELDS, parse_edit, parse_range
from ryu_apps.model.nat_pool import DEFAULT_REST_S
from ryu_apps.model.network import MISS_RATE_PPS
from ryu_apps.model.nic_limits import ACTION_NAMES
from ryu_apps.model.rights import ADMIN, OWNER_PATTERN


class LimitsBody(Body):
    """What a NIC can hold and do: entries of each cache, names of actions besides allow and deny, meters; null: all.

    uplink_kbps is the most that leaves by the uplink, in kbit/s of whole frames; the highest priority goes first.
    """

    outbound_entries: Count | None = None
    inbound_entries: Count | None = None
    actions: Annotated[list[ActionName], Field(max_length=len(ACTION_NAMES))] | None = None
    meters: Count | None = None
    uplink_kbps: Annotated[int, Field(ge=1, le=4_000_000_000)] | None = None


class HostBody(Body):
    """A hypervisor, whose NIC is one datapath, or up to three with a hairpin."""

    dpid: Dpid
    uplink: PortName | None = None
    tunnel: PortName | None = None
    limits: LimitsBody = LimitsBody()
    hairpin: HairpinBody | None = None
    miss: Literal["pf", "vm"] = "pf"


class TenantBody(Body):
    """An owner of vports; a new tenant gets a segment of the same id."""


class SegmentBody(Body):
    """A layer-2 domain; vlan is its id in the network outside, 0 for untagged, null for each VF's own VLAN.

    vni is its VXLAN network identifier. chain is passed by what no rule sends another way.
    """

    tenant: Id
    vlan: Annotated[int, Field(ge=0, le=4094)] | None = None
    vni: Vni | None = None
    chain: Id | None = None


class BandwidthBody(Body):
    """The most that may pass, in kbit/s of whole frames; null for no limit, 0 for nothing."""

    outbound_kbps: Kbps | None = None
    inbound_kbps: Kbps | None = None


class VportBody(Body):
    """Policy attachment point of one VF; a vport of kind trunk lists the VLANs that its VM may use."""

    host: Id
    port: PortName
    kind: Literal["vf", "trunk"] = "vf"
    tenant: Id
    mac: Mac
    ips: Annotated[list[Ip], Field(max_length=256)] = Field(default_factory=list)
    vlan: Vlan
    segment: Id | None = None
    trunk: Annotated[list[Vlan], Field(max_length=4094)] = Field(default_factory=list)
    bandwidth: BandwidthBody = BandwidthBody()
    subinterface: PortName | None = None
    miss_rate_pps: MissRate | None = MISS_RATE_PPS
    priority: TrafficPriority = 0
    synthetic: PortName | None = None


class RouteBody(Body):
    """Where a destination MAC of a segment is: at a vport, or out of the uplink; one of both."""

    segment: Id
    eth_dst: Mac
    vport: Id | None = None
    to: Literal["uplink"] | None = None


class DefaultBody(Body):
    """What becomes of a packet that no rule of the layer matches."""

    outbound: Verdict = "allow"
    inbound: Verdict = "allow"


class NatPoolBody(Body):
    """Addresses and ports that sources are translated to, behind the uplink of one host.

    An address is given as itself, as a range `first-last` or as a prefix. ports: `lowest-highest`.
    """

    segment: Id
    host: Id
    addresses: Annotated[list[Addresses], Field(min_length=1, max_length=64)]
    ports: Ports | None = None
    mac: Mac | None = None
    most_per_vport: Annotated[int, Field(ge=1, le=0xFFFFFFFF)] | None = None
    rest_s: Annotated[int, Field(ge=0, le=3600)] = DEFAULT_REST_S


class LayerBody(Body):
    """One ordered stage of policy."""

    position: Annotated[int, Field(ge=0, le=65535)]
    stateful: bool = False
    owner: Annotated[str, Field(pattern=f"^{OWNER_PATTERN}$")] = ADMIN
    default: DefaultBody = DefaultBody()


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


class TraceBody(Body):
    """A packet to trace from a vport: its fields as in a match, each with one value."""

    vport: Id
    direction: Literal["outbound", "inbound"]
    packet: dict[str, FieldValue]


class OutcomeBody(Body):
    """What came of a change."""

    state: Literal["installed", "stored", "planned", "unchanged"]
    generation: int
    waiting_for: list[str]
    touched_flows: int
    difference: list[str]


class FaultBody(Body):
    """One fault: where it is in the body (or `query.` and a name) and what is wrong."""

    path: str
    message: str


class ProblemBody(Body):
    """A refusal (RFC 9457); nothing was changed."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FaultBody]

"""What a client may send: names, types and ranges, as pydantic models.

They refuse unknown names and wrong types, and give the OpenAPI document its schemas.
What a value means is decided in `model.documents`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ryu_apps.api.hairpin_schemas import HairpinBody
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
    TrafficPriority,
    Verdict,
    Vlan,
    Vni,
)
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

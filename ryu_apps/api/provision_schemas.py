"""What a client sends to make a whole hairpin with one call."""

from __future__ import annotations

from pydantic import Field

from ryu_apps.api.hairpin_schemas import HairpinBody
from ryu_apps.api.scalars import Body, Dpid, Id, Ip, Mac, MissRate, PortName, TrafficPriority, Vlan
from ryu_apps.api.schemas import BandwidthBody, LimitsBody
from ryu_apps.model.network import MISS_RATE_PPS


class HairpinVfBody(Body):
    """A VF of the host, with its sub-interface."""

    port: PortName
    subinterface: PortName | None = None
    tenant: Id
    mac: Mac
    ips: list[Ip] = Field(default_factory=list, max_length=256)
    vlan: Vlan
    segment: Id | None = None
    bandwidth: BandwidthBody = BandwidthBody()
    priority: TrafficPriority = 0
    miss_rate_pps: MissRate | None = MISS_RATE_PPS


class HairpinOutletBody(Body):
    """Where a segment leaves the host."""

    segment: Id
    port: PortName
    macs: list[Mac] = Field(default_factory=list, max_length=256)
    chain_port: PortName | None = None


class ProvisionBody(Body):
    """A host with its hairpin of either kind, its VFs with their sub-interfaces, and its outlets, by their ids."""

    host: Id
    dpid: Dpid
    limits: LimitsBody = LimitsBody()
    hairpin: HairpinBody
    vports: dict[Id, HairpinVfBody] = Field(default_factory=dict, max_length=4094)
    outlets: dict[Id, HairpinOutletBody] = Field(default_factory=dict, max_length=4094)

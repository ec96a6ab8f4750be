"""Network values: hosts, tenants, segments, vports and routes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from ryu_apps.model.flow_key import VLAN_PRESENT
from ryu_apps.model.hairpin import AnyHairpin, Hairpin, nic_ports
from ryu_apps.model.nic_limits import UNLIMITED, NicLimits


class MissPath(Enum):
    """How a packet of a VM that its outbound cache does not know comes to the host (US 8,930,690)."""

    PF = "pf"
    """From the NIC itself, as a packet-in."""
    VM = "vm"
    """Back out of the VF, and from the VM again by its synthetic port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A hypervisor whose NIC is one datapath, or up to three where it has a hairpin; dpid is that of the VFs.

    uplink names the port toward the network, tunnel the port that VXLAN goes in and out by; None for none.
    miss holds for the vports that have a synthetic port; what others send goes to the PF.
    hairpin: all frames of VFs go to network functions, and no other way.
    """

    id: str
    dpid: int
    uplink: str | None
    tunnel: str | None = None
    limits: NicLimits = UNLIMITED
    miss: MissPath = MissPath.PF
    hairpin: AnyHairpin | None = None

    @property
    def dpids(self) -> tuple[int, ...]:
        """All datapaths of the host's NIC, that of the VFs first."""
        return (self.dpid,) if self.hairpin is None else (self.dpid, *nic_ports(self.hairpin).values())

    @property
    def function_dpid(self) -> int:
        """The datapath that sub-interfaces toward network functions are ports of."""
        return self.hairpin.function_port.dpid if isinstance(self.hairpin, Hairpin) else self.dpid


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """An owner of vports."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A layer-2 domain.

    vlan is the id by which the network outside knows it (0: untagged); None: the outside sees each VF's own VLAN.
    number is what the pipeline's register carries, 1 to 65535.
    vni is the VXLAN network identifier under which frames from tunnels belong to it, None for none.
    chain is passed by all that no rule sends another way, on hosts with a hairpin; None: functions are wired by hand.
    """

    id: str
    tenant: str
    vlan: int | None
    number: int
    vni: int | None = None
    chain: str | None = None


class VportKind(Enum):
    """How a vport is attached: a VF that sends untagged, or one trusted with a list of VLANs."""

    VF = "vf"
    TRUNK = "trunk"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bandwidth:
    """Most that may pass a vport, in kbit/s of whole frames: from the VM and to the VM; None for no limit, 0 for none.

    What is not addressed to one station is not counted toward the VM.
    """

    outbound_kbps: int | None = None
    inbound_kbps: int | None = None


MISS_RATE_PPS: Final = 500
"""Misses per second that a vport may have answered in each direction: a small part of what one switch can set up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vport:
    """Policy attachment point of one VF.

    vlan is the VF's own VLAN, unique among all VFs and segments; it is also its number in registers and cookies.
    ips holds (version, address); empty means that any source address is accepted.
    trunk holds the segments, by id, whose VLAN tags the VM may use; the vport then has no segment of its own.
    bandwidth limits what the VM sends and gets.
    subinterface is the port toward network functions that stands for the VF, on a host with a hairpin.
    miss_rate_pps is how many packets a second may ask the controller, of each direction; None for no limit.
    priority, 0 to 7, is that of the packets that the VM sends; the highest goes first where room is short.
    synthetic names a second port of the same VM, None for none: it sends there what the host is to decide.
    """

    id: str
    host: str
    port: str
    kind: VportKind
    tenant: str
    segment: str | None
    mac: int
    ips: tuple[tuple[int, int], ...]
    vlan: int
    trunk: tuple[str, ...] = ()
    bandwidth: Bandwidth = Bandwidth()
    subinterface: str | None = None
    miss_rate_pps: int | None = MISS_RATE_PPS
    priority: int = 0
    synthetic: str | None = None

    @property
    def number(self) -> int:
        """The vport's number in registers and cookies, 1 to 4094."""
        return self.vlan

    @property
    def ports(self) -> tuple[str, ...]:
        """The switch's ports that the VM is at, by name."""
        return (self.port,) if self.synthetic is None else (self.port, self.synthetic)

    @property
    def segments(self) -> tuple[str, ...]:
        """The segments that the vport is a member of."""
        return (self.segment,) if self.segment is not None else self.trunk


def tag_of(vport: Vport, segment: Segment) -> int:
    """Return the VLAN that keys of a vport's packets in a segment carry: a trunk's tag, 0 for untagged packets."""
    return VLAN_PRESENT | segment.vlan if vport.segment is None and segment.vlan else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One entry of the route decision: where a destination MAC of a segment is, before what vports say.

    vport None sends to the uplink as to an external destination.
    """

    id: str
    segment: str
    eth_dst: int
    vport: str | None

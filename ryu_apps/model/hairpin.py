"""Hairpin values: how a NIC brings all frames of its VFs to network functions, and where segments leave it.

By VLAN (CN patent application PCT/CN2016/105227): NIC port 1 has the VFs, port 2, at the other end of a cable,
the sub-interfaces toward network functions, and port 3 the way to the network.
By MAC (its sister, US 11,005,755): port 1 has VFs and sub-interfaces, port 2 the way to the network.
Each port is a datapath of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Fail(str, Enum):
    """What becomes of frames while functions cannot be reached: dropped, or delivered on the host without them."""

    CLOSED = "closed"
    OPEN = "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionPort:
    """NIC port 2: the datapath that hands frames by VLAN to sub-interfaces; cable is its end of the cable."""

    dpid: int
    cable: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkPort:
    """NIC port 3: the datapath between network functions and the network; uplink is its port toward the network."""

    dpid: int
    uplink: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hairpin:
    """How frames of a host's VFs get to network functions; cable is the port of the VFs' datapath that they leave by.

    network_port None: the host has no way to the network.
    """

    cable: str
    function_port: FunctionPort
    network_port: NetworkPort | None = None
    fail: Fail = Fail.CLOSED


@dataclass(frozen=True, slots=True, kw_only=True)
class MacSteering:
    """A hairpin without a cable: the VFs' datapath has the sub-interfaces itself, and steers between both.

    network_port None: the host has no way to the network.
    """

    network_port: NetworkPort | None = None
    fail: Fail = Fail.CLOSED


AnyHairpin = Hairpin | MacSteering


def nic_ports(hairpin: AnyHairpin) -> dict[str, int]:
    """Return the datapaths of a hairpin besides that of the VFs, by the field that names them."""
    ports: dict[str, int] = {}
    if isinstance(hairpin, Hairpin):
        ports["function_port"] = hairpin.function_port.dpid
    if hairpin.network_port is not None:
        ports["network_port"] = hairpin.network_port.dpid
    return ports


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlet:
    """Where a segment leaves a hairpin host: the port of NIC port 3 toward the function that sends it out.

    macs holds source MACs, besides those of the host's own VFs, that may leave: those of functions that route.
    chain_port is the port of NIC port 2 at the other end, where the segment's chains end; None: a function is there.
    """

    id: str
    host: str
    segment: str
    port: str
    macs: tuple[int, ...] = ()
    chain_port: str | None = None

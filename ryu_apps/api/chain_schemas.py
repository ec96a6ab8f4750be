"""What a client may send about functions and chains."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ryu_apps.api.scalars import Body, Id, Ip, Mac, PortName, Vlan, absent
from ryu_apps.model.chain import MOST_WEIGHT
from ryu_apps.model.probe import LEAST_INTERVAL_MS, MOST_MS, MOST_STREAK

_Port = Annotated[int, Field(ge=1, le=65535)]
_Streak = Annotated[int, Field(ge=1, le=MOST_STREAK)]


class ProbePacketBody(Body):
    """The headers of a probe: UDP over IPv4 in Ethernet; what is left out passes a function that bridges."""

    eth_src: Mac = absent()
    eth_dst: Mac = absent()
    ipv4_src: Ip = absent()
    ipv4_dst: Ip = absent()
    udp_src: _Port = absent()
    udp_dst: _Port = absent()


class InstanceBody(Body):
    """One running copy of a function: two ports of the host's function port, toward the VMs and away from them.

    weight is its part of new connections; with 0 it keeps those that it has.
    macs are the MACs of its own with which it sends away from the VMs.
    probe_packet has the headers that its probes have instead of the function's.
    """

    host: Id
    inside: PortName
    outside: PortName
    weight: Annotated[int, Field(ge=0, le=MOST_WEIGHT)] = 1
    macs: list[Mac] = Field(default_factory=list, max_length=16)
    probe_packet: ProbePacketBody = absent()


class ProbeBody(Body):
    """Datagrams that are sent into each instance and awaited at its other side.

    After `fall` lost ones in a row an instance has failed, after `rise` ones in a row that are back it works.
    """

    interval_ms: Annotated[int, Field(ge=LEAST_INTERVAL_MS, le=MOST_MS)] = 200
    timeout_ms: Annotated[int, Field(ge=1, le=MOST_MS)] = 200
    fall: _Streak = 3
    rise: _Streak = 3
    packet: ProbePacketBody = absent()


class FunctionBody(Body):
    """A network function; rewriting: it changes headers; keeps_apart: several chains may use it, each by its VLAN.

    Without a probe only links tell whether an instance works.
    """

    instances: Annotated[dict[Id, InstanceBody], Field(max_length=64)] = Field(default_factory=dict)
    rewriting: bool = False
    keeps_apart: bool = False
    probe: ProbeBody | None = None


class ChainBody(Body):
    """Functions in the order in which the packets that begin a connection pass them.

    While no instance of a hop works, packets are dropped there (closed), or pass the hop by (open).
    """

    tenant: Id
    segment: Id | None = None
    hops: Annotated[list[Id], Field(min_length=1, max_length=16)]
    fail: Literal["closed", "open"] = "closed"
    symmetric_return: bool = True
    vlan: Vlan | None = None


class ThroughChainBody(Body):
    """Go on, and pass the functions of a chain on the way; replies pass them the other way."""

    type: Literal["chain"]
    chain: Id

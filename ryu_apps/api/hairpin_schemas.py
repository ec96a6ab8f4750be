"""What a client may send about hairpins."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ryu_apps.api.scalars import Body, Dpid, Id, Mac, PortName


class FunctionPortBody(Body):
    """NIC port 2: the datapath with the sub-interfaces toward network functions, and its end of the cable."""

    dpid: Dpid
    cable: PortName


class NetworkPortBody(Body):
    """NIC port 3: the datapath between network functions and the network, and its port toward the network."""

    dpid: Dpid
    uplink: PortName


class HairpinBody(Body):
    """All frames of the host's VFs leave by the cable and reach others through network functions only.

    While functions cannot be reached, frames are dropped (closed), or delivered on the host without them (open).
    """

    cable: PortName
    function_port: FunctionPortBody
    network_port: NetworkPortBody | None = None
    fail: Literal["closed", "open"] = "closed"


class SkipChainBody(Body):
    """Deliver on a host with a hairpin without its network functions, replies too."""

    type: Literal["skip_chain"]


class OutletBody(Body):
    """Where a segment leaves a host with a hairpin: a port of its network port that leads to a function.

    macs are source MACs that may leave there besides those of the host's VFs.
    """

    host: Id
    segment: Id
    port: PortName
    macs: list[Mac] = Field(default_factory=list, max_length=256)
    chain_port: PortName | None = None

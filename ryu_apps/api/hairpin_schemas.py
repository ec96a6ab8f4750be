"""What a client may send about hairpins."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from ryu_apps.api.scalars import Body, Dpid, Id, Mac, PortName


class FunctionPortBody(Body):
    """NIC port 2: the datapath with the sub-interfaces toward network functions, and its end of the cable."""

    dpid: Dpid
    cable: PortName


class NetworkPortBody(Body):
    """NIC port 3, or 2 without a cable: the datapath between network functions and the network, with its uplink."""

    dpid: Dpid
    uplink: PortName


class VlanHairpinBody(Body):
    """All frames of the host's VFs leave by the cable and reach others through network functions only.

    While functions cannot be reached, frames are dropped (closed), or delivered on the host without them (open).
    """

    steering: Literal["vlan"] = "vlan"
    cable: PortName
    function_port: FunctionPortBody
    network_port: NetworkPortBody | None = None
    fail: Literal["closed", "open"] = "closed"


class MacSteeringBody(Body):
    """The same without a cable: sub-interfaces are ports of the VFs' datapath, which steers to functions and back."""

    steering: Literal["mac"]
    network_port: NetworkPortBody | None = None
    fail: Literal["closed", "open"] = "closed"


def _steering(value: Any) -> str:
    """Return how a hairpin says that it steers; it may leave out that it is by VLAN."""
    return str(value.get("steering", "vlan")) if isinstance(value, dict) else "vlan"


HairpinBody = Annotated[
    Annotated[VlanHairpinBody, Tag("vlan")] | Annotated[MacSteeringBody, Tag("mac")], Discriminator(_steering)
]


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

"""What a client may send about functions and chains."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ryu_apps.api.scalars import Body, Id, Mac, PortName, Vlan
from ryu_apps.model.chain import MOST_WEIGHT


class InstanceBody(Body):
    """One running copy of a function: two ports of the host's function port, toward the VMs and away from them.

    weight is its part of new connections; with 0 it keeps those that it has.
    macs are the MACs of its own with which it sends away from the VMs.
    """

    host: Id
    inside: PortName
    outside: PortName
    weight: Annotated[int, Field(ge=0, le=MOST_WEIGHT)] = 1
    macs: list[Mac] = Field(default_factory=list, max_length=16)


class FunctionBody(Body):
    """A network function; rewriting: it changes headers; keeps_apart: several chains may use it, each by its VLAN."""

    instances: Annotated[dict[Id, InstanceBody], Field(max_length=64)] = Field(default_factory=dict)
    rewriting: bool = False
    keeps_apart: bool = False


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

"""Chains of network functions: what a function is, where its instances are, and in which order frames pass them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from ryu_apps.model.hairpin import Fail
from ryu_apps.model.probe import Probe

MOST_CHAINS: Final = 7
"""Chains of one segment: the cable tells them apart by the three priority bits of the tag, and 0 says none."""

MOST_WEIGHT: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One running copy of a function on a host: two ports of NIC port 2, toward the VMs and away from them.

    weight is its part of new connections, 0 to 16; with 0 it keeps those that it has and gets no new ones.
    macs are the MACs with which it sends away from the VMs, where it does so with its own.
    probe_packet has the headers, by name, that its probes have instead of the function's.
    """

    id: str
    host: str
    inside: str
    outside: str
    weight: int = 1
    macs: tuple[int, ...] = ()
    probe_packet: tuple[tuple[str, int], ...] = ()

    @property
    def ports(self) -> tuple[str, str]:
        """Its two ports by name, that toward the VMs first."""
        return self.inside, self.outside


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A network function with its instances by id.

    rewriting: it changes addresses or ports, or sends with MACs of its own.
    keeps_apart: it keeps the tag of each chain, so that several chains may use it.
    probe: what tells whether an instance works, besides its links; None where they alone do.
    """

    id: str
    instances: tuple[Instance, ...]
    rewriting: bool = False
    keeps_apart: bool = False
    probe: Probe | None = None

    def probe_of(self, instance: Instance) -> Probe | None:
        """Return how an instance is probed, None where it is not."""
        if self.probe is None or not instance.probe_packet:
            return self.probe
        return replace(self.probe, packet=replace(self.probe.packet, **dict(instance.probe_packet)))

    def on(self, host: str) -> tuple[Instance, ...]:
        """Return the instances on one host."""
        return tuple([one for one in self.instances if one.host == host])


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Functions, by id, in the order in which the frames that begin a connection pass them; replies the other way.

    fail says what becomes of frames while no instance of a hop works: they are dropped, or pass the hop by.
    symmetric_return False: replies pass no function.
    vlan is the tag toward functions that keep chains apart, None where there is none.
    mark, 1 to 7, is the chain's own in its segment: the priority bits of the tag on the cable.
    """

    id: str
    tenant: str
    segment: str
    hops: tuple[str, ...]
    mark: int
    fail: Fail = Fail.CLOSED
    symmetric_return: bool = True
    vlan: int | None = None

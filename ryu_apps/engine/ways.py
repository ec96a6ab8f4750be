"""Which ways to network functions are broken, and what goes on without functions because of it."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import replace

from ryu_apps.engine.policy import Policy
from ryu_apps.model.hairpin import Fail, Hairpin
from ryu_apps.model.network import Host, Segment
from ryu_apps.model.policy import Snapshot

Down = Mapping[int, Container[str]]
"""By datapath, the names of ports that are not there or whose link is down; a datapath not heard of has none."""


def broken_vports(snapshot: Snapshot, down: Down) -> frozenset[int]:
    """Return the numbers of the VFs that cannot reach their functions: a cable or their sub-interface is down."""
    return frozenset(
        vport.number
        for vport in snapshot.vports.values()
        if vport.subinterface is not None and _is_down(snapshot.hosts[vport.host], vport.subinterface, down)
    )


def _is_down(host: Host, subinterface: str, down: Down) -> bool:
    if host.hairpin is None:
        return False
    at_functions = down.get(host.function_dpid, ())
    if not isinstance(host.hairpin, Hairpin):
        return subinterface in at_functions
    cable = host.hairpin.cable in down.get(host.dpid, ()) or host.hairpin.function_port.cable in at_functions
    return cable or subinterface in at_functions


def with_broken(policy: Policy, broken: frozenset[int]) -> Policy:
    """Return the policy with other ways broken; only standing entries differ."""
    return replace(policy, broken=broken, standing={})


def bypassed(policy: Policy, host: Host) -> Iterator[Segment]:
    """Yield the segments that go on without functions on a host that fails open.

    That is where no VF of the segment reaches its functions: one whose way alone is broken is cut off.
    """
    if host.hairpin is None or host.hairpin.fail is Fail.CLOSED:
        return
    for segment in policy.snapshot.segments.values():
        residents = policy.directory.residents(segment.id, host.id)
        if residents and all(vport.number in policy.broken for vport in residents):
            yield segment

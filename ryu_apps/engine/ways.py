"""Which ways to network functions are broken, and what goes on without functions because of it."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import replace

from ryu_apps.engine.policy import Policy
from ryu_apps.model.hairpin import Fail, Hairpin
from ryu_apps.model.network import Host, Segment, Vport
from ryu_apps.model.policy import Snapshot

Down = Mapping[int, Container[str]]
"""By datapath, the names of ports that are not there or whose link is down; a datapath not heard of has none."""


def broken_vports(snapshot: Snapshot, down: Down) -> frozenset[int]:
    """Return the numbers of the VFs that cannot reach their functions: a cable or their sub-interface is down."""
    return frozenset(
        vport.number
        for vport in snapshot.vports.values()
        if _is_down(snapshot.hosts[vport.host], _subinterface(snapshot, vport), down)
    )


def _subinterface(snapshot: Snapshot, vport: Vport) -> str | None:
    """Return the sub-interface that a VF's frames go to, None where they go into a chain."""
    chained = vport.segment is not None and snapshot.segments[vport.segment].chain is not None
    return None if chained else vport.subinterface


def _is_down(host: Host, subinterface: str | None, down: Down) -> bool:
    if host.hairpin is None:
        return False
    at_functions = down.get(host.function_dpid, ())
    if not isinstance(host.hairpin, Hairpin):
        return subinterface in at_functions
    cable = host.hairpin.cable in down.get(host.dpid, ()) or host.hairpin.function_port.cable in at_functions
    return cable or subinterface in at_functions


def failed_instances(snapshot: Snapshot, down: Down) -> frozenset[tuple[str, str]]:
    """Return the instances of functions, each as (function, instance), that have a port without a link."""
    return frozenset(
        (function.id, one.id)
        for function in snapshot.functions.values()
        for one in function.instances
        if any(port in down.get(snapshot.hosts[one.host].function_dpid, ()) for port in one.ports)
    )


def with_broken(
    policy: Policy, broken: frozenset[int], failed: frozenset[tuple[str, str]] = frozenset()
) -> Policy:
    """Return the policy with other ways broken and other instances failed; only standing entries differ."""
    return replace(policy, broken=broken, failed=failed, standing={})


def bypassed(policy: Policy, host: Host) -> Iterator[Segment]:
    """Yield the segments that go on without functions, as their chain says, or the host where they have none.

    That is where no VF of the segment reaches its functions: one whose way alone is broken is cut off.
    """
    if host.hairpin is None:
        return
    chains = policy.snapshot.chains
    for segment in policy.snapshot.segments.values():
        fail = host.hairpin.fail if segment.chain is None else chains[segment.chain].fail
        if fail is Fail.CLOSED:
            continue
        residents = policy.directory.residents(segment.id, host.id)
        if residents and all(vport.number in policy.broken for vport in residents):
            yield segment

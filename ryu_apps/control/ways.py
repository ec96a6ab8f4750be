"""What follows when a way to network functions breaks or is whole again: standing entries, and what is told of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from ryu_apps.control.change import base_changes
from ryu_apps.control.core import ControlCore
from ryu_apps.control.effects import SwitchChange
from ryu_apps.control.probes import Name
from ryu_apps.engine.policy import Policy
from ryu_apps.engine.ways import broken_vports, bypassed, failed_instances, with_broken
from ryu_apps.model.hairpin import Hairpin
from ryu_apps.model.network import Host
from ryu_apps.model.policy import Snapshot


class Turn(NamedTuple):
    """What the switches must change, and a line for the log on each way that broke or is whole again."""

    switches: tuple[SwitchChange, ...] = ()
    news: tuple[str, ...] = ()


def follow_ways(core: ControlCore, down: Mapping[int, frozenset[str]]) -> Turn:
    """Put in force what follows from ports that are down, by datapath, and from probes that are lost.

    Return what the switches must change.
    """
    before = core.policy
    broken = broken_vports(before.snapshot, down)
    without_link = failed_instances(before.snapshot, down)
    failed = without_link | core.probes.failed
    if (broken, failed) == (before.broken, before.failed):
        return Turn()
    policy = with_broken(before, broken, failed)
    turn = Turn(tuple(base_changes(core, policy)), tuple(_news(before, policy, without_link)))
    core.policy = policy
    failures = core.probes.failures
    failures.update(function for function, _ in policy.failed - before.failed)
    for function in failures.keys() - policy.snapshot.functions.keys():
        del failures[function]
    return turn


def take_for_failed(core: ControlCore, names: frozenset[Name]) -> tuple[str, ...]:
    """Put in force that instances have failed which had before this process began; return a line for the log on each.

    The switches change nothing: it is from them that it is known.
    """
    if not names:
        return ()
    core.probes.had_failed(names)
    core.policy = with_broken(core.policy, core.policy.broken, core.policy.failed | names)
    told = "instance {1} of function {0} had failed before this start"
    return tuple([told.format(*name) for name in sorted(names)])


def _news(before: Policy, after: Policy, without_link: frozenset[tuple[str, str]]) -> Iterator[str]:
    for number in sorted(before.broken ^ after.broken):
        vport = after.vports.get(number)
        if vport is not None:
            state = "is broken" if number in after.broken else "is whole again"
            yield f"host {vport.host}: the way of vport {vport.id} to its functions {state}"
    for name in sorted(before.failed ^ after.failed):
        function, instance = name
        why = "link" if name in without_link else "probe"
        state = f"has failed ({why})" if name in after.failed else "works again"
        yield f"instance {instance} of function {function} {state}"


def ports_on_ways(snapshot: Snapshot, dpid: int) -> set[str]:
    """Return the ports of a datapath that ways to functions lead through, whether it has them or not."""
    named: set[str] = set()
    for host in snapshot.hosts.values():
        hairpin = host.hairpin
        if hairpin is None:
            continue
        if host.function_dpid == dpid:
            named |= set(_subinterfaces(snapshot, host))
            named |= {port for f in snapshot.functions.values() for one in f.on(host.id) for port in one.ports}
        if isinstance(hairpin, Hairpin):
            ends = {host.dpid: hairpin.cable, hairpin.function_port.dpid: hairpin.function_port.cable}
            named |= {ends[dpid]} if dpid in ends else set()
    return named


def _subinterfaces(snapshot: Snapshot, host: Host) -> Iterable[str]:
    return [v.subinterface for v in snapshot.vports.values() if v.host == host.id and v.subinterface is not None]


class Ways(NamedTuple):
    """Which of a host's VFs cannot reach their functions, and which segments go on without functions, by id."""

    broken_vports: tuple[str, ...]
    bypassed_segments: tuple[str, ...]


def ways_of(policy: Policy, host: Host) -> Ways:
    """Return how a host's ways to network functions are, as far as is known."""
    here = [policy.vports[number] for number in policy.broken if number in policy.vports]
    return Ways(
        tuple(sorted(vport.id for vport in here if vport.host == host.id)),
        tuple(sorted(segment.id for segment in bypassed(policy, host))),
    )

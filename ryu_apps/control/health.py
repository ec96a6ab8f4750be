"""What is known of functions and chains: which instances work, and what becomes of frames at each hop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ryu_apps.control.core import ControlCore
from ryu_apps.control.histogram import Durations
from ryu_apps.control.probes import Name
from ryu_apps.engine.policy import Policy
from ryu_apps.engine.ways import Down, failed_instances
from ryu_apps.model.chain import Chain, Function, Instance
from ryu_apps.model.hairpin import Fail
from ryu_apps.model.network import Host


def health_of(
    core: ControlCore, function: Function, down: Down, connections: Callable[[Instance], int | None]
) -> dict[str, Any]:
    """Return the live state of a function: of each instance whether it works, why not, and what goes through it."""
    without_link = failed_instances(core.policy.snapshot, down)
    return {
        "instances": {
            one.id: {
                **_state(core, (function.id, one.id), (function.id, one.id) in without_link),
                "connections": connections(one),
            }
            for one in function.instances
        }
    }


def _state(core: ControlCore, name: Name, without_link: bool) -> dict[str, Any]:
    failed = name in core.policy.failed
    seen = core.probes.count_of(name)
    latency_s = None if seen is None else seen.latency_s
    return {
        "state": "down" if failed else "up",
        "reason": None if not failed else "link" if without_link else "probe",
        "latency_us": None if latency_s is None else round(latency_s * 1e6),
        "lost": 0 if seen is None else seen.lost,
        "answered": 0 if seen is None else seen.answered,
    }


def chain_health(policy: Policy, chain: Chain) -> dict[str, Any]:
    """Return the live state of a chain: for each host with VFs of its segment what becomes of frames at each hop."""
    hosts = (host for host in policy.snapshot.hosts.values() if policy.directory.residents(chain.segment, host.id))
    return {"hosts": {host.id: {"hops": [_hop(policy, host, chain, name) for name in chain.hops]} for host in hosts}}


def _hop(policy: Policy, host: Host, chain: Chain, name: str) -> dict[str, Any]:
    """Return whether new connections pass a hop by an instance, pass it by without one, or end there."""
    function = policy.snapshot.functions.get(name)
    here = function.on(host.id) if function is not None else ()
    working = [one for one in here if (name, one.id) not in policy.failed]
    without = "bypassed" if chain.fail is Fail.OPEN else "drops"
    state = "works" if any(one.weight for one in working) else without
    return {"function": name, "state": state, "working": sorted(one.id for one in working)}


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionStatistics:
    """A function: which instances work, and how many probes each has lost; how often one has failed.

    latency: how long probes took, None without probes.
    """

    id: str
    works: Mapping[str, bool]
    lost: Mapping[str, int]
    failures: int
    latency: Durations | None


def function_statistics(core: ControlCore) -> Iterator[FunctionStatistics]:
    """Yield the statistics of all functions, by id."""
    for name, function in sorted(core.policy.snapshot.functions.items()):
        seen = {one.id: core.probes.count_of((name, one.id)) for one in function.instances}
        yield FunctionStatistics(
            id=name,
            works={one.id: (name, one.id) not in core.policy.failed for one in function.instances},
            lost={instance: count.lost for instance, count in seen.items() if count is not None},
            failures=core.probes.failures[name],
            latency=core.probes.latency_of(name),
        )

"""How much a vport may ask that asks far too much: less the more it is, until it stops.

A meter keeps a flood from the controller, but what it lets through still becomes entries.
Each of them has the switch look at its datapath anew, and tells the packets of the flood apart, so that all of this
must be looked at: the more a flood may ask, the more the first packets of others have to wait.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from ryu_apps.engine.policy import Policy
from ryu_apps.model.network import Vport
from ryu_apps.model.rules import Direction
from ryu_apps.pipeline.meters import MeterConfig, metered_vports, miss_meter_numbers, miss_meters

# A vport, and whether it asks by what it sends or by what comes for it.
Asker = tuple[int, Direction]

FAR_TOO_MUCH: Final = 4
"""A meter that drops so many times its rate is slowed down."""


def slowed(config: MeterConfig, steps: int) -> MeterConfig:
    """Return a meter at half its rate for each step, at least 1 a second; a changed meter begins with a full bucket."""
    if not steps:
        return config
    rate = max(1, config.rate >> steps)
    return config._replace(rate=rate, burst=rate)


def steps_for(rate: int, dropped_per_s: float) -> int:
    """Return how often a meter's rate is to be halved: as often as what it drops doubles above what is far too much."""
    steps = 0
    while dropped_per_s > FAR_TOO_MUCH * rate << steps and rate >> steps > 1:
        steps += 1
    return steps


def _direction(number: int, vport: Vport) -> Direction:
    outbound, _ = miss_meter_numbers(vport)
    return Direction.OUTBOUND if number == outbound else Direction.INBOUND


class Reading(NamedTuple):
    """What the meters of a datapath had dropped, by number, when they were last read."""

    read_s: float
    dropped: Mapping[int, int]


class Metered(NamedTuple):
    """The meters of misses of a datapath, and the numbers of the vports whose they are, by number of the meter."""

    configs: Mapping[int, MeterConfig]
    owners: Mapping[int, int]


class Floods:
    """What was last read of the meters of misses, and which are slowed down, by how many steps."""

    def __init__(self) -> None:
        self._readings: dict[int, Reading] = {}
        self._steps: dict[int, dict[int, int]] = {}
        self._known: tuple[tuple[object, ...], dict[int, Metered]] = (), {}

    def meters(self, policy: Policy) -> Mapping[int, Metered]:
        """Return the meters of misses of a policy, of each datapath that has some."""
        snapshot = policy.snapshot
        # Rules change often, and matter only where they take meters of a NIC that has not any number.
        limited = any(host.limits.meters is not None for host in snapshot.hosts.values())
        made_from = snapshot.vports, snapshot.hosts, snapshot.nat_pools, policy if limited else None
        known_from, found = self._known
        if len(known_from) != len(made_from) or any(a is not b for a, b in zip(known_from, made_from, strict=True)):
            made = ((host, miss_meters(policy, host)) for host in snapshot.hosts.values())
            found = {host.dpid: Metered(has, metered_vports(policy, host.dpid)) for host, has in made if has}
            self._known = made_from, found
        return found

    def slowed_at(self, dpid: int) -> frozenset[int]:
        """Return the numbers of the meters of a datapath that were slowed down."""
        return frozenset(self._steps.get(dpid, ()))

    def askers(self, policy: Policy) -> frozenset[Asker]:
        """Return who is slowed down; the network, which asks about NAT pools, is nobody."""
        slow = {dpid: steps for dpid, steps in self._steps.items() if steps}
        known = self.meters(policy) if slow else {}
        return frozenset(
            (owner, _direction(number, policy.vports[owner]))
            for dpid in slow.keys() & known.keys()
            for number in slow[dpid]
            if (owner := known[dpid].owners.get(number))
        )

    def counted(
        self,
        dpid: int,
        wanted: Mapping[int, MeterConfig],
        dropped: Mapping[int, int],
        present: Mapping[int, MeterConfig | None],
        now_s: float,
    ) -> tuple[MeterConfig, ...]:
        """Return the meters of a datapath that are to change, as they are to be.

        wanted are its meters of misses as the policy has them, dropped how many packets each has dropped so far,
        and present says how those of `slowed_at` are set: one that was set otherwise meanwhile is not slowed down.
        They are slowed down at once, and let up by one step in each second reading.
        """
        before = self._readings.get(dpid)
        had = self._steps.get(dpid, {})
        steps = {
            number: step
            for number, step in had.items()
            if number in wanted and present.get(number) == slowed(wanted[number], step)
        }
        changed = []
        if before is not None and now_s > before.read_s:
            for number in wanted.keys() & dropped.keys() & before.dropped.keys():
                rate_per_s = (dropped[number] - before.dropped[number]) / (now_s - before.read_s)
                step = max(steps_for(wanted[number].rate, rate_per_s), steps.get(number, 0) - 1)
                if step != steps.get(number, 0):
                    changed.append(slowed(wanted[number], step))
                steps[number] = step
        # One that changes counts from nothing: it is looked at again when it has been read twice.
        anew = {config.number for config in changed}
        self._readings[dpid] = Reading(now_s, {n: packets for n, packets in dropped.items() if n not in anew})
        self._steps[dpid] = {number: step for number, step in steps.items() if step}
        return tuple(changed)

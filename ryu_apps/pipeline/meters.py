"""The meters that a host's switch must have: of rules, of what VMs may send, of rates that priorities share, of misses.

The meters of misses take what room is left in a NIC that has few.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import chain, islice
from typing import Final, NamedTuple

from ryu_apps.engine.meter_id import meter_id
from ryu_apps.engine.policy import Policy
from ryu_apps.engine.view import applies
from ryu_apps.model.action import Meter, RateUnit, default_burst
from ryu_apps.model.errors import Conflict, FieldError
from ryu_apps.model.network import MISS_RATE_PPS, Host, Vport
from ryu_apps.model.rules import Direction
from ryu_apps.pipeline.bottlenecks import UPLINK, bottlenecks

LEAST_BURST_PKTS: Final = 256
"""A vport may ask so much at once, or what its rate gives in a quarter of a second if that is more.

The first packets of a connection ask for 10 ms, 20 on a busy machine: enough for one that begins with 12,000/s.
"""


class MeterConfig(NamedTuple):
    """A meter with one band that drops; burst in kbit or packets."""

    number: int
    unit: RateUnit
    rate: int
    burst: int


def outbound_meter(vport: Vport) -> int:
    """Return the number of the meter that all that a VM sends passes, 0 for none."""
    return meter_id(vport.id, Direction.OUTBOUND.value) if vport.bandwidth.outbound_kbps else 0


def shut(vport: Vport, direction: Direction) -> bool:
    """Return whether a vport's bandwidth of a direction is 0, so that nothing passes."""
    bandwidth = vport.bandwidth
    return (bandwidth.outbound_kbps if direction is Direction.OUTBOUND else bandwidth.inbound_kbps) == 0


def miss_meter_numbers(vport: Vport) -> tuple[int, int]:
    """Return the numbers of the meters of a vport's misses, outbound and inbound, if its NIC has them."""
    return _miss_meter_numbers(vport.id)


@lru_cache(maxsize=8192)
def _miss_meter_numbers(vport: str) -> tuple[int, int]:
    return meter_id(vport, "outbound", "misses"), meter_id(vport, "inbound", "misses")


def network_meter(host: Host) -> int:
    """Return the number of the meter of what the network asks about a host's NAT pools, if its NIC has it."""
    return meter_id(host.id, "pools", "misses")


def miss_meters(policy: Policy, host: Host) -> dict[int, MeterConfig]:
    """Return the meters of misses that a host's NIC has room for, by number."""
    return {config.number: config for _, config in _of_misses(policy, host)}


def metered_vports(policy: Policy, dpid: int) -> dict[int, int]:
    """Return the numbers of a datapath's vports by the numbers of the meters that their misses pass.

    0 stands for the network.
    """
    found: dict[int, int] = {}
    for host in policy.snapshot.hosts.values():
        if host.dpid == dpid:
            has = miss_meters(policy, host)
            local = (vport for vport in policy.snapshot.vports.values() if vport.host == host.id)
            found = {meter: vport.number for vport in local for meter in miss_meter_numbers(vport) if meter in has}
            found |= {meter: 0 for meter in (network_meter(host),) if meter in has}
    return found


def _of_misses(policy: Policy, host: Host) -> Iterator[tuple[tuple[str, ...], MeterConfig]]:
    most = host.limits.meters
    room = None if most is None else max(0, most - sum(1 for _ in _named(policy, host.id)))
    limited = [v for v in policy.snapshot.vports.values() if v.host == host.id and v.miss_rate_pps is not None]
    if room is not None:
        limited.sort(key=lambda vport: vport.id)
    of_vports = (((made.id, "misses"), config) for made in limited for config in _of_vport(made))
    return islice(chain(_of_network(policy, host), of_vports), room)


def _of_network(policy: Policy, host: Host) -> Iterator[tuple[tuple[str, ...], MeterConfig]]:
    """Yield the meter of what the network asks about NAT pools, where a host has one: as one vport may ask."""
    if any(pool.host == host.id for pool in policy.snapshot.nat_pools.values()):
        yield (host.id, "pools"), MeterConfig(network_meter(host), RateUnit.PPS, MISS_RATE_PPS, LEAST_BURST_PKTS)


def _of_vport(vport: Vport) -> Iterator[MeterConfig]:
    rate = vport.miss_rate_pps or 0
    burst = max(LEAST_BURST_PKTS, rate // 4)
    return (MeterConfig(number, RateUnit.PPS, rate, burst) for number in miss_meter_numbers(vport))


def host_meters(policy: Policy, host: str) -> dict[int, MeterConfig]:
    """Return the meters of a host by number; Conflict when two would have one number."""
    found: dict[int, MeterConfig] = {}
    for names, config in chain(_named(policy, host), _of_misses(policy, policy.snapshot.hosts[host])):
        if config.number in found:
            raise Conflict(
                "two meters of one switch have the same number",
                [FieldError("id", f"the meter of {'/'.join(names)} meets another; give the rule another id")],
            )
        found[config.number] = config
    return found


def meters_within(policy: Policy, host: str, most: int) -> frozenset[int]:
    """Return the numbers of the meters that find room in a NIC with so many: those of rules come last."""
    known = policy.metered.get(host)
    if known is None:
        known = policy.metered[host] = frozenset(list(host_meters(policy, host))[:most])
    return known


def connection_rooms(policy: Policy) -> dict[int, int]:
    """Return how many meters the NIC of each host has left for single connections, by datapath, where it has not any
    number: those that follow from policy come first.
    """
    return {
        host.dpid: max(0, host.limits.meters - len(host_meters(policy, host.id)))
        for host in policy.snapshot.hosts.values()
        if host.limits.meters is not None
    }


def rule_configs(policy: Policy, host: str) -> Iterator[MeterConfig]:
    """Yield the meters that rules have on a host."""
    return (config for _, config in _of_rules(policy, host))


def rate_config(number: int, kbps: int) -> MeterConfig:
    """Return the meter of a bandwidth: its burst is that of a meter for which none is given."""
    return MeterConfig(number, RateUnit.KBPS, kbps, default_burst(RateUnit.KBPS, kbps))


def _named(policy: Policy, host: str) -> Iterator[tuple[tuple[str, ...], MeterConfig]]:
    snapshot = policy.snapshot
    for vport in snapshot.vports.values():
        kbps = vport.bandwidth.outbound_kbps
        if vport.host == host and kbps:
            yield (vport.id, Direction.OUTBOUND.value), rate_config(outbound_meter(vport), kbps)
    for narrow in bottlenecks(policy, snapshot.hosts[host]):
        for priority, meter in narrow.turns:
            yield (narrow.vport or UPLINK, str(priority)), rate_config(meter, narrow.rate_kbps)
    yield from _of_rules(policy, host)


def _of_rules(policy: Policy, host: str) -> Iterator[tuple[tuple[str, ...], MeterConfig]]:
    snapshot = policy.snapshot
    local = [vport for vport in snapshot.vports.values() if vport.host == host]
    for key, classifier in policy.classifiers.items():
        group = snapshot.groups[key]
        rules = [group.rules[name] for name in classifier.metered]
        for vport in local if rules else ():
            for rule in rules if applies(group, vport, group.direction) else ():
                if isinstance(rule.action, Meter) and rule.action.rate:
                    names = (vport.id, *key, rule.id)
                    meter = rule.action
                    yield names, MeterConfig(meter_id(*names), meter.unit, meter.rate, meter.burst)

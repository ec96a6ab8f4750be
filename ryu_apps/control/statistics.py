"""Everything that is counted, as one value: what REST and Prometheus both tell, each in its own words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ryu_apps.control.core import ControlCore
from ryu_apps.control.health import FunctionStatistics
from ryu_apps.control.histogram import Durations
from ryu_apps.control.leases import PoolUse
from ryu_apps.control.ledger import Asked, CacheCount, Ledger, SwitchCount
from ryu_apps.control.sharing import Shares
from ryu_apps.control.tally import Tally
from ryu_apps.control.ways import Ways, ways_of
from ryu_apps.model.network import Host
from ryu_apps.model.rules import Direction
from ryu_apps.pipeline.cookie import Refusal

ELSEWHERE = 0
"""The datapath id under which counts stand whose host is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What switch and controller counted of one vport, or of several together.

    caches, refused: the switch's own counts. counts: the controller's, by name.
    """

    caches: Mapping[Direction, CacheCount] = field(default_factory=dict)
    refused: Mapping[str, int] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def hits(self) -> int:
        """Look-ups that the caches answered."""
        return sum(cache.hits for cache in self.caches.values())

    @property
    def misses(self) -> int:
        """Look-ups that went to the controller."""
        return sum(cache.misses for cache in self.caches.values())

    @property
    def hit_ratio(self) -> float | None:
        """Hits over hits and misses, None while there was neither."""
        return _ratio(self.hits, self.misses)

    @property
    def nic_share(self) -> float | None:
        """Of all that was decided of packets, the share that the NIC decided alone: hits, passes and refusals.

        A miss that a meter has dropped is a refusal too.
        """
        passes = sum(cache.passes for cache in self.caches.values())
        asked = max(0, self.misses - self.refused.get(Refusal.MISS_LIMIT.slug, 0))
        return _ratio(self.hits + passes + sum(self.refused.values()), asked)


def _ratio(part: int, rest: int) -> float | None:
    return part / (part + rest) if part + rest else None


def together(figures: Iterable[Figures]) -> Figures:
    """Return the sum of figures."""
    caches: dict[Direction, CacheCount] = dict.fromkeys(Direction, CacheCount())
    refused: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for each in figures:
        for direction, cache in each.caches.items():
            caches[direction] = CacheCount(*map(sum, zip(caches[direction], cache, strict=True)))
        refused.update(each.refused)
        counts.update(each.counts)
    return Figures(caches=caches, refused=refused, counts=counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostStatistics:
    """One host: figures of its vports by id, of vports that it had once, and of packets that reached no vport.

    answered: whether its datapath told its counts when last asked; where not, they are those of the time before.
    ways: how its ways to network functions are, None for a host without a hairpin.
    shares: how priorities share its uplink and bandwidths, where there are several.
    """

    id: str
    connected: bool
    answered: bool
    vports: Mapping[str, Figures]
    gone: Figures
    uplink: Figures
    miss_latency: Durations
    ways: Ways | None = None
    shares: tuple[Shares, ...] = ()

    @property
    def total(self) -> Figures:
        """The sum of all figures of the host."""
        return together((*self.vports.values(), self.gone, self.uplink))


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """All counts at one time.

    held_back: directions of flows whose entry is held back while first packets are under way.
    named: vports that are told apart where cardinality must be bounded. general: the controller's counts that belong
    to no vport. faults: connections of switches that were closed, by reason, and what else went wrong with them.
    begun_per_s: connections begun per second in the last seconds, None in the first.
    """

    flows: int
    held_back: int
    generation: int
    begun_per_s: float | None
    hosts: tuple[HostStatistics, ...]
    named: frozenset[str]
    general: Figures
    faults: Mapping[str, int]
    unanswered: tuple[int, ...]
    pools: Mapping[str, PoolUse] = field(default_factory=dict)
    functions: tuple[FunctionStatistics, ...] = ()

    @property
    def total(self) -> Figures:
        """The sum over all hosts, and of what belongs to none."""
        return together((*(host.total for host in self.hosts), self.general))


def owners(core: ControlCore) -> dict[int, tuple[str, int]]:
    """Return each vport's id and datapath by its number."""
    vports, dpids = core.policy.snapshot.vports.values(), core.policy.dpids
    return {vport.number: (vport.id, dpids[vport.number]) for vport in vports}


def asked_of(tally: Tally) -> dict[int, Asked]:
    """Return what the controller has counted of each vport's look-ups, by number."""
    found = {}
    for number, counts in tally.by_vport().items():
        inbound = counts.get("inbound-misses", 0)
        outbound = counts.get("misses", 0) - inbound
        found[number] = Asked(outbound, inbound, counts.get("begun", 0), counts.get("brought", 0))
    return found


def host_statistics(
    core: ControlCore,
    ledger: Ledger,
    host: Host,
    counts: Mapping[int, Mapping[str, int]],
    *,
    answered: bool,
    miss_latency: Durations,
) -> HostStatistics:
    """Return the statistics of one host; counts are the controller's by the vports' numbers.

    A host with a hairpin is connected when all its datapaths are.
    """
    dpid = host.dpid
    connected = all(each in core.datapaths for each in host.dpids)
    return HostStatistics(
        id=host.id,
        connected=connected,
        answered=answered and connected,
        vports={
            vport.id: _figures(ledger.of_vport(dpid, vport.number), counts.get(vport.number, {}))
            for vport in core.policy.snapshot.vports.values()
            if vport.host == host.id
        },
        gone=_figures(ledger.of_gone(dpid), core.tally.of_gone(dpid)),
        uplink=together(_figures(ledger.of_vport(each, 0), {}) for each in host.dpids),
        miss_latency=miss_latency,
        ways=None if host.hairpin is None else ways_of(core.policy, host),
        shares=core.sharing.shares(dpid),
    )


def general_figures(core: ControlCore) -> Figures:
    """Return the controller's counts that belong to no vport, or to one of which nobody knows where it was."""
    return Figures(counts=Counter(core.tally.of_vport(0)) + core.tally.of_gone(ELSEWHERE))


def _figures(switch: SwitchCount, counts: Mapping[str, int]) -> Figures:
    return Figures(caches=switch.caches, refused=switch.refused, counts=counts)

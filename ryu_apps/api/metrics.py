"""Statistics in the words of Prometheus: families of metrics, and their text in the format that the reader asks for.

Nothing is kept here: the library's collectors read one value, and its global registry is not used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from math import inf
from typing import Final, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from ryu_apps.api.function_metrics import function_families
from ryu_apps.control.statistics import Figures, HostStatistics, Statistics, together
from ryu_apps.control.tally import REMOVED, REMOVED_OTHERWISE

T = TypeVar("T")

OTHER: Final = "other"
"""Label value for vports that have no series of their own, and for those that are gone; ids of that name join them."""

_REMOVALS: Final = (*REMOVED.values(), REMOVED_OTHERWISE)
_REFUSED_BY_HOST: Final = ("denied", "malformed", "flow-limit", "pool-unread", "unknown-vport", "miss-queue")
# The same refusals are counted by the core and among the faults of connections.
_SWITCH_REFUSED: Final = "switch-refused "
_FAULT_REFUSED: Final = "refused: "

_COUNTS: Final = (
    ("packet_ins", "misses", "Packets that came up from a cache, those decided packet by packet included"),
    ("host_hits", "host-hits", "Packets that came up and whose connection the host knew already"),
    ("connections_begun", "begun", "Connections begun by vport"),
    ("offloads", "offloads", "Cached entries sent to a switch, by the vport that they belong to"),
)
_CACHES: Final = (
    ("cache_hits", "hits", "Look-ups that a cache of the NIC answered by itself"),
    ("cache_misses", "misses", "Look-ups that went to the controller"),
    ("cache_passes", "passes", "Neighbour messages that the NIC let past a cache"),
    ("cache_returns", "returns", "Look-ups that went back to their VM, to be sent by its synthetic port"),
)

Row = tuple[str, str, Figures]
"""Host, label value of the vport, figures."""


PAUSE_EVERY: Final = 500
"""Samples after which others have their turn; writing so many takes a few milliseconds."""


def exposition(told: Statistics, accept: str, pause: Callable[[], None]) -> tuple[bytes, str]:
    """Return statistics as text, and its media type, in the format that an Accept header prefers.

    pause is called in between.
    """
    try:
        encode, media = choose_encoder(accept)
    except (TypeError, ValueError):  # The library cannot compare a version that is none.
        encode, media = choose_encoder("")
    return encode(_Reading(told, pause)), media


class _Reading(Collector):
    """One value of the statistics where the library expects a registry."""

    def __init__(self, told: Statistics, pause: Callable[[], None]) -> None:
        self._told = told
        self._pause = pause

    def collect(self) -> Iterator[Metric]:
        """Yield all families."""
        for family in families(self._told, self._pause):
            family.samples = Paced(family.samples, PAUSE_EVERY, self._pause)
            yield family


class Paced(list[T]):
    """A list that lets others have their turn while somebody goes through it."""

    def __init__(self, items: Iterable[T], every: int, pause: Callable[[], None]) -> None:
        super().__init__(items)
        self._every = every
        self._pause = pause

    def __iter__(self) -> Iterator[T]:
        for place, item in enumerate(super().__iter__(), start=1):
            yield item
            if not place % self._every:
                self._pause()


def families(told: Statistics, pause: Callable[[], None]) -> Iterator[Metric]:
    """Yield the families of metrics with their samples; pause is called in between."""
    rows = Paced((row for host in told.hosts for row in bounded(host, told.named)), PAUSE_EVERY // 5, pause)
    yield from _of_caches(rows)
    rows.append(("", "", told.general))
    yield from _of_counts(rows)
    yield _refusals(rows)
    yield _removals(rows)
    yield _latency(told.hosts)
    yield from _of_hosts(told)
    yield from function_families(told.functions)
    counts = told.general.counts.items()
    errors = {name.removeprefix(_SWITCH_REFUSED): count for name, count in counts if name.startswith(_SWITCH_REFUSED)}
    yield _labelled("switch_errors", "Entries that a switch did not take, by OpenFlow error", "error", errors)
    faults = {name: count for name, count in told.faults.items() if not name.startswith(_FAULT_REFUSED)}
    yield _labelled("switch_faults", "Connections of switches closed, and other trouble with them", "reason", faults)


def bounded(host: HostStatistics, named: frozenset[str]) -> Iterator[Row]:
    """Yield a host's figures by vport, those without a name of their own summed as other."""
    rest = [host.gone]
    for name, figures in sorted(host.vports.items()):
        if name in named and name != OTHER:
            yield host.id, name, figures
        else:
            rest.append(figures)
    yield host.id, OTHER, together(rest)
    yield host.id, "", host.uplink


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"vfswitch_{name}", f"{text}.", labels=labels)


def _of_caches(rows: Iterable[Row]) -> Iterator[Metric]:
    for name, field, text in _CACHES:
        family = _counter(name, text, "host", "vport", "cache")
        for host, vport, figures in rows:
            if vport:
                for direction, cache in figures.caches.items():
                    family.add_metric((host, vport, direction.value), getattr(cache, field))
        yield family


def _of_counts(rows: Iterable[Row]) -> Iterator[Metric]:
    for name, count, text in _COUNTS:
        family = _counter(name, text, "host", "vport")
        for host, vport, figures in rows:
            if vport or figures.counts.get(count):
                family.add_metric((host, vport), figures.counts.get(count, 0))
        yield family


def _refusals(rows: Iterable[Row]) -> Metric:
    text = "Packets dropped, by reason; vport is empty where none was known"
    family = _counter("refusals", text, "host", "vport", "reason")
    for host, vport, figures in rows:
        for reason, count in figures.refused.items():
            family.add_metric((host, vport, reason), count)
        for reason in _REFUSED_BY_HOST:
            if figures.counts.get(reason):
                family.add_metric((host, vport, reason), figures.counts[reason])
    return family


def _removals(rows: Iterable[Row]) -> Metric:
    family = _counter("entries_removed", "Cached entries that left a switch, by reason", "host", "vport", "reason")
    for host, vport, figures in rows:
        for reason in _REMOVALS:
            if figures.counts.get(reason):
                family.add_metric((host, vport, reason), figures.counts[reason])
    return family


def _latency(hosts: Iterable[HostStatistics]) -> Metric:
    text = "From reading a miss off the switch's connection to handing over its answer."
    family = HistogramMetricFamily("vfswitch_miss_latency_seconds", text, labels=("host",))
    for host in hosts:
        latency = host.miss_latency
        buckets = [("+Inf" if up_to_s == inf else str(up_to_s), misses) for up_to_s, misses in latency.cumulative()]
        family.add_metric((host.id,), buckets, latency.sum_s)
    return family


def _of_hosts(told: Statistics) -> Iterator[Metric]:
    text = "Whether the host's datapath is connected."
    connected = GaugeMetricFamily("vfswitch_host_connected", text, labels=("host",))
    text = "Whether the host's datapath told its counts for this scrape; where not, they are older."
    answered = GaugeMetricFamily("vfswitch_host_answered", text, labels=("host",))
    for host in told.hosts:
        connected.add_metric((host.id,), host.connected)
        answered.add_metric((host.id,), host.answered)
    yield connected
    yield answered
    yield from _ways(told.hosts)
    yield GaugeMetricFamily("vfswitch_flows", "Unified flows that the host knows now.", value=told.flows)
    text = "Directions of flows whose entry is held back while first packets are under way."
    yield GaugeMetricFamily("vfswitch_flows_held_back", text, value=told.held_back)
    leases = GaugeMetricFamily("vfswitch_nat_leases", "Leases of NAT pools, by state.", labels=("pool", "state"))
    for pool, use in told.pools.items():
        for state, count in use._asdict().items():
            leases.add_metric((pool, state), count)
    yield leases
    yield GaugeMetricFamily("vfswitch_policy_generation", "Number of the policy in force.", value=told.generation)


def _ways(hosts: Iterable[HostStatistics]) -> Iterator[Metric]:
    text = "VFs that cannot reach their network functions."
    broken = GaugeMetricFamily("vfswitch_hairpin_broken_vports", text, labels=("host",))
    text = "Segments that go on without their network functions."
    bypassed = GaugeMetricFamily("vfswitch_hairpin_bypassed_segments", text, labels=("host",))
    for host in hosts:
        if host.ways is not None:
            broken.add_metric((host.id,), len(host.ways.broken_vports))
            bypassed.add_metric((host.id,), len(host.ways.bypassed_segments))
    yield broken
    yield bypassed


def _labelled(name: str, text: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = _counter(name, text, label)
    for value, count in sorted(counts.items()):
        family.add_metric((value,), count)
    return family

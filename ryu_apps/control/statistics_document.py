"""Statistics as the document that REST answers with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from math import inf
from typing import Any

from ryu_apps.control.histogram import Durations
from ryu_apps.control.sharing import Shares
from ryu_apps.control.statistics import Figures, HostStatistics, Statistics, together
from ryu_apps.model.rules import Direction

ALWAYS_TOLD = ("misses", "host-hits", "begun", "offloads", "denied", "evicted")
"""Counts of the controller that are told also while they are 0."""


def statistics_document(told: Statistics) -> dict[str, Any]:
    """Return the document of GET /v1/stats."""
    total = told.total
    return {
        "flows": told.flows,
        "held_back": told.held_back,
        "generation": told.generation,
        "begun_per_s": None if told.begun_per_s is None else round(told.begun_per_s, 3),
        "hit_ratio": _rounded(total.hit_ratio),
        "nic_share": _rounded(total.nic_share),
        "counts": _counts(total.counts),
        "refused": dict(together(host.uplink for host in told.hosts).refused),
        "connections": dict(told.faults),
        "unanswered": [f"{dpid:016x}" for dpid in told.unanswered],
        "nat_pools": {name: use._asdict() for name, use in told.pools.items()},
        "hosts": {host.id: _host(host) for host in told.hosts},
        "vports": {name: _vport(figures) for host in told.hosts for name, figures in sorted(host.vports.items())},
    }


def _host(host: HostStatistics) -> dict[str, Any]:
    total = host.total
    return {
        "connected": host.connected,
        "answered": host.answered,
        **_switch(total),
        "counts": _counts(total.counts),
        "refused": dict(total.refused),
        "miss_latency": _latency(host.miss_latency),
        "shared": [_shares(shares) for shares in host.shares],
    }


def _shares(shares: Shares) -> dict[str, Any]:
    where = {"at": "uplink"} if shares.vport is None else {"at": "inbound", "vport": shares.vport}
    return {**where, "rate_kbps": shares.rate_kbps, "priorities": [turn._asdict() for turn in shares.turns]}


def _vport(figures: Figures) -> dict[str, Any]:
    return {**_counts(figures.counts), **_switch(figures), "refused": dict(figures.refused)}


def _switch(figures: Figures) -> dict[str, Any]:
    caches = {direction.value: figures.caches[direction]._asdict() for direction in Direction}
    return {
        "caches": caches,
        "hit_ratio": _rounded(figures.hit_ratio),
        "nic_share": _rounded(figures.nic_share),
    }


def _counts(counts: Mapping[str, int]) -> dict[str, int]:
    return {**dict.fromkeys(ALWAYS_TOLD, 0), **Counter(counts)}


def _latency(latency: Durations) -> dict[str, Any]:
    cumulative = latency.cumulative()
    buckets = [{"up_to_s": None if up_to_s == inf else up_to_s, "misses": misses} for up_to_s, misses in cumulative]
    return {"misses": latency.count, "sum_s": round(latency.sum_s, 9), "buckets": buckets}


def _rounded(ratio: float | None) -> float | None:
    return None if ratio is None else round(ratio, 6)

"""What is known of functions in the words of Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from math import inf
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from ryu_apps.control.health import FunctionStatistics

MOST_FUNCTIONS: Final = 100
"""Functions that have series; of those above it, by id, only GET tells."""


def function_families(functions: Sequence[FunctionStatistics]) -> Iterator[Metric]:
    """Yield the families of functions and their instances with their samples."""
    named = tuple(islice(functions, MOST_FUNCTIONS))
    text = "Whether an instance of a function works."
    works = GaugeMetricFamily("vfswitch_function_instance_up", text, labels=("function", "instance"))
    text = "Probes through an instance that have not come back in time."
    lost = CounterMetricFamily("vfswitch_function_probes_lost", text, labels=("function", "instance"))
    text = "Instances of a function that have failed, by a link or by probes, so that others took over."
    failures = CounterMetricFamily("vfswitch_function_failovers", text, labels=("function",))
    text = "From sending a probe into an instance to hearing that it has come out."
    latency = HistogramMetricFamily("vfswitch_function_probe_latency_seconds", text, labels=("function",))
    for function in named:
        for instance, state in function.works.items():
            works.add_metric((function.id, instance), state)
        for instance, count in function.lost.items():
            lost.add_metric((function.id, instance), count)
        failures.add_metric((function.id,), function.failures)
        if function.latency is not None:
            cumulative = function.latency.cumulative()
            buckets = [("+Inf" if up_to_s == inf else str(up_to_s), count) for up_to_s, count in cumulative]
            latency.add_metric((function.id,), buckets, function.latency.sum_s)
    yield from (works, lost, failures, latency)

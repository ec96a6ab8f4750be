"""GET /metrics: what Prometheus reads back from the text, with names of vports bounded and sums exact."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from ryu_apps.api.function_metrics import MOST_FUNCTIONS
from ryu_apps.api.metrics import PAUSE_EVERY, Paced, exposition
from ryu_apps.control.health import FunctionStatistics
from ryu_apps.control.histogram import BOUNDS_S, Durations, Histogram
from ryu_apps.control.ledger import CacheCount
from ryu_apps.control.statistics import Figures, HostStatistics, Statistics
from ryu_apps.control.statistics_document import statistics_document
from ryu_apps.control.ways import Ways
from ryu_apps.model.rules import Direction
from tests.unit.api.conftest import Client

OUT, IN = Direction.OUTBOUND, Direction.INBOUND


def figures(size: int) -> Figures:
    """Return figures that differ by size."""
    return Figures(
        caches={OUT: CacheCount(10 * size, size, 2), IN: CacheCount(5 * size, 1, 0)},
        refused={"ip": size, "mac": 1},
        counts={
            "misses": size + 1, "host-hits": 1, "begun": size, "offloads": 4 * size, "evicted": 2, "denied": 3,
            "pool-unread": 5,
        },
    )  # fmt: skip


def statistics(vports: int = 4, named: int = 2) -> Statistics:
    """Return statistics of one host that answers and one that does not."""
    latency = Histogram()
    latency.observe(30e-6, 64)
    latency.observe(0.5, 1)
    names = [f"vm{number}" for number in range(vports)]
    host = HostStatistics(
        id="h1", connected=True, answered=True, vports={name: figures(size) for size, name in enumerate(names)},
        gone=figures(100), uplink=Figures(refused={"not-local": 9}), miss_latency=latency.now(),
    )  # fmt: skip
    away = replace(host, id="h2", connected=True, answered=False, vports={}, gone=Figures(), uplink=Figures())
    general = Figures(counts={"unknown-vport": 1, "switch-refused OFPET_BAD_MATCH, OFPBMC_BAD_FIELD": 2})
    return Statistics(
        flows=7, held_back=2, generation=3, begun_per_s=1.5, hosts=(host, away), named=frozenset(names[:named]),
        general=general, faults={"silent": 1, "refused: OFPET_BAD_MATCH, OFPBMC_BAD_FIELD": 2}, unanswered=(2,),
    )  # fmt: skip


def read(told: Statistics) -> dict[str, Metric]:
    """Return the families that Prometheus would read, by name."""
    text, media = exposition(told, "", lambda: None)
    assert media.startswith("text/plain; version=0.0.4")
    return {family.name: family for family in text_string_to_metric_families(text.decode())}


def value(family: Metric, **labels: str) -> float:
    """Return the one sample with exactly these labels."""
    (found,) = [sample.value for sample in family.samples if sample.labels == labels]
    return float(found)


def test_every_family_reads_back_with_what_it_counts() -> None:
    """M28: figures come out of the text under their labels, as counters with a help line."""
    families = read(statistics())
    assert value(families["vfswitch_cache_hits"], host="h1", vport="vm1", cache="outbound") == 10
    assert value(families["vfswitch_cache_misses"], host="h1", vport="vm1", cache="inbound") == 1
    assert value(families["vfswitch_cache_passes"], host="h1", vport="vm1", cache="outbound") == 2
    assert value(families["vfswitch_packet_ins"], host="h1", vport="vm1") == 2
    assert value(families["vfswitch_host_hits"], host="h1", vport="vm1") == 1
    assert value(families["vfswitch_connections_begun"], host="h1", vport="vm1") == 1
    assert value(families["vfswitch_offloads"], host="h1", vport="vm1") == 4
    assert value(families["vfswitch_entries_removed"], host="h1", vport="vm1", reason="evicted") == 2
    assert value(families["vfswitch_refusals"], host="h1", vport="vm1", reason="mac") == 1
    assert value(families["vfswitch_refusals"], host="h1", vport="vm1", reason="denied") == 3
    assert value(families["vfswitch_refusals"], host="h1", vport="vm1", reason="pool-unread") == 5
    assert value(families["vfswitch_refusals"], host="h1", vport="", reason="not-local") == 9
    assert value(families["vfswitch_refusals"], host="", vport="", reason="unknown-vport") == 1
    assert value(families["vfswitch_switch_errors"], error="OFPET_BAD_MATCH, OFPBMC_BAD_FIELD") == 2
    assert [sample.labels for sample in families["vfswitch_switch_faults"].samples] == [{"reason": "silent"}]
    gauges = [value(families[f"vfswitch_{name}"]) for name in ("flows", "flows_held_back", "policy_generation")]
    assert gauges == [7, 2, 3]
    for family in families.values():
        assert family.documentation and family.name.startswith("vfswitch_")
        for sample in family.samples:
            assert family.type != "counter" or sample.name.endswith("_total")


def test_broken_ways_are_told_of_hosts_that_have_ways() -> None:
    """H12: VFs without a way to functions and segments that go on without are counted, for hosts with a hairpin."""
    told = statistics()
    ways = Ways(broken_vports=("vm1", "vm2"), bypassed_segments=("red",))
    families = read(replace(told, hosts=(replace(told.hosts[0], ways=ways), told.hosts[1])))
    assert value(families["vfswitch_hairpin_broken_vports"], host="h1") == 2
    assert value(families["vfswitch_hairpin_bypassed_segments"], host="h1") == 1
    assert len(families["vfswitch_hairpin_broken_vports"].samples) == 1


def test_a_host_that_does_not_answer_is_told() -> None:
    """M28: a switch that is slow or away makes the scrape say so and not fail."""
    families = read(statistics())
    told = {name: value(families["vfswitch_host_answered"], host=name) for name in ("h1", "h2")}
    assert told == {"h1": 1, "h2": 0} and value(families["vfswitch_host_connected"], host="h2") == 1


def test_the_histogram_reads_back() -> None:
    """M28: buckets are cumulative, with bounds in seconds, and count and sum agree with them."""
    family = read(statistics())["vfswitch_miss_latency_seconds"]
    assert family.type == "histogram"
    mine = [sample for sample in family.samples if sample.labels["host"] == "h1"]
    buckets = {s.labels["le"]: s.value for s in mine if s.name.endswith("_bucket")}
    assert (buckets["2e-05"], buckets["5e-05"], buckets["0.1"], buckets["+Inf"]) == (0, 64, 64, 65)
    assert {s.name[30:]: round(s.value, 6) for s in mine if not s.name.endswith("_bucket")} == {
        "count": 65, "sum": 0.50192
    }  # fmt: skip


def _sums(families: dict[str, Metric]) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for name, family in families.items():
        for sample in family.samples:
            if "vport" in sample.labels:
                rest = {key: label for key, label in sample.labels.items() if key != "vport"}
                found[name, str(sorted(rest.items()))] += sample.value  # type: ignore[assignment]
    return found


def test_names_are_bounded_and_sums_are_exact() -> None:
    """M28: vports without a name of their own are summed as other, whatever the bound; no sum changes by it."""
    unbounded = read(statistics(vports=50, named=50))
    for named in (0, 1, 10, 49):
        families = read(statistics(vports=50, named=named))
        vports = {sample.labels["vport"] for sample in families["vfswitch_cache_hits"].samples}
        assert vports == {f"vm{number}" for number in range(named)} | {"other"}
        assert _sums(families) == _sums(unbounded)


def test_a_vport_called_other_is_among_the_others() -> None:
    """M28: an id that is the name of the sum makes no second series of the same labels."""
    told = statistics()
    host = replace(told.hosts[0], vports={**told.hosts[0].vports, "other": figures(1000)})
    families = read(replace(told, hosts=(host,), named=told.named | {"other"}))
    assert value(families["vfswitch_offloads"], host="h1", vport="other") == 4 * (2 + 3 + 100 + 1000)


def test_the_text_and_the_document_agree() -> None:
    """M28: GET /metrics and GET /v1/stats tell the same figures."""
    told = statistics(vports=5, named=5)
    document, families = statistics_document(told), read(told)
    for name in ("vm0", "vm4"):
        for cache, counts in document["vports"][name]["caches"].items():
            for kind in ("hits", "misses", "passes"):
                assert value(families[f"vfswitch_cache_{kind}"], host="h1", vport=name, cache=cache) == counts[kind]
    total = sum(s.value for s in families["vfswitch_offloads"].samples)
    assert total == document["counts"]["offloads"]
    hits, misses = (sum(s.value for s in families[f"vfswitch_cache_{kind}"].samples) for kind in ("hits", "misses"))
    assert document["hit_ratio"] == round(hits / (hits + misses), 6)
    assert document["vports"]["vm4"]["hit_ratio"] == round(60 / 65, 6)
    assert document["vports"]["vm4"]["nic_share"] == round((60 + 2 + 5) / (60 + 2 + 5 + 5), 6)


def test_ratios_of_nothing_are_not_told() -> None:
    """M28: a vport that has seen no packet has no ratio."""
    empty = Figures(caches=dict.fromkeys(Direction, CacheCount()))
    assert (empty.hit_ratio, empty.nic_share) == (None, None)


def test_the_reader_chooses_the_format(network: Client) -> None:
    """M28: OpenMetrics is told where the header Accept asks for it, with an end; the text format otherwise."""
    network.service.counted = statistics()
    plain = network.send("GET", "/metrics")
    assert plain.status == 200 and dict(plain.headers)["Content-Type"].startswith("text/plain; version=0.0.4")
    wanted = network.send("GET", "/metrics", accept="application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert dict(wanted.headers)["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    names = {family.name for family in parse_openmetrics(wanted.body.decode())}
    assert names == set(read(statistics())) and wanted.body.endswith(b"# EOF\n")
    assert network.send("POST", "/metrics").status == 405
    assert network.send("GET", "/metrics?x=1").status == 400


_parts = st.sampled_from(
    ["application/openmetrics-text", "text/plain", "*/*", ";", ",", "version=", "version=1.0.0", "version=x",
     "version=1.x", "version=9.9", "escaping=", "escaping=allow-utf-8", "escaping=dots", "q=0", " ", "=", ";;", "é"]
)  # fmt: skip


@given(st.lists(_parts, max_size=6).map("".join))
def test_a_strange_accept_gets_a_text_all_the_same(accept: str) -> None:
    """M28: whatever the header Accept says, the answer is one of the formats and no fault."""
    body, media = exposition(statistics(), accept, lambda: None)
    assert body.startswith(b"# HELP vfswitch_")
    assert media.split(";")[0] in ("text/plain", "application/openmetrics-text")


def test_nothing_of_ours_is_in_the_librarys_registry() -> None:
    """M28: figures are read from one value, so that two scrapes cannot mix."""
    exposition(statistics(), "", lambda: None)
    assert not [family for family in REGISTRY.collect() if family.name.startswith("vfswitch")]


def test_functions_are_told_up_to_a_number() -> None:
    """M28 H12: instances, lost probes and failures come out by function, of as many functions as Prometheus bears."""
    latency = Durations((0, 2, *(0,) * (len(BOUNDS_S) - 1)), 30e-6)
    functions = tuple(
        FunctionStatistics(
            id=f"f{number:03}", works={"a": True, "b": False}, lost={"b": 4}, failures=1, latency=latency
        )
        for number in range(MOST_FUNCTIONS + 5)
    )
    families = read(replace(statistics(), functions=functions))
    up = families["vfswitch_function_instance_up"]
    assert [value(up, function="f000", instance=name) for name in ("a", "b")] == [1, 0]
    assert value(families["vfswitch_function_probes_lost"], function="f000", instance="b") == 4
    assert value(families["vfswitch_function_failovers"], function="f099") == 1
    counts = [
        sample.value
        for sample in families["vfswitch_function_probe_latency_seconds"].samples
        if sample.name.endswith("_count") and sample.labels["function"] == "f001"
    ]
    assert counts == [2]
    assert len(up.samples) == 2 * MOST_FUNCTIONS


def test_names_follow_the_rules() -> None:
    """M28: names are of letters and underscores, and durations are in seconds by name."""
    text = exposition(statistics(), "", lambda: None)[0].decode()
    names = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    assert all(re.fullmatch(r"vfswitch_[a-z_]+", name) for name in names)
    durations = {"vfswitch_miss_latency_seconds", "vfswitch_function_probe_latency_seconds"}
    assert {name for name in names if "latency" in name} == durations


def test_writing_many_samples_lets_others_have_their_turn() -> None:
    """M28: in a scrape of many vports nobody waits for more than a small part of it."""
    pauses: list[int] = []
    exposition(statistics(vports=1000, named=1000), "", lambda: pauses.append(1))
    samples = sum(len(family.samples) for family in read(statistics(vports=1000, named=1000)).values())
    assert len(pauses) >= samples // PAUSE_EVERY

    seen: list[object] = []

    def numbers() -> Iterator[Sample]:
        for number in range(25):
            yield Sample("x", {}, number)

    for sample in Paced(numbers(), 10, lambda: seen.append("pause")):
        seen.append(sample)
    assert [place for place, what in enumerate(seen) if what == "pause"] == [10, 21] and len(seen) == 27

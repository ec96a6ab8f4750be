"""How many packets a full NIC handles under the product's policy and others, against the optimum that knows the future.

Zipf traffic in trains, alone and with a scan of one VF mixed in (benchmarks/nic_traffic.py says how both are made),
for NIC tables of 1 to 25 % of the flows and several seeds; then other traffic, where the product may do worse.
Prints tables and one JSON line, and draws docs/nic_cache.svg.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import Pool
from pathlib import Path
from statistics import mean

from benchmarks.eviction_groups import EvictionGroups
from benchmarks.measurement import print_table
from benchmarks.nic_plot import draw
from benchmarks.nic_policies import (
    AlwaysAdmitRandom,
    LeastRecentlyUsed,
    Optimum,
    Policy,
    Product,
)
from benchmarks.nic_replay import Outcome, replay
from benchmarks.nic_traffic import Trace, TrafficModel, trace
from ryu_apps.engine.nic_cache import NicCache

PARTS = (0.01, 0.05, 0.10, 0.25)
SEEDS = (1, 2, 3)
BAR = 0.9
ZIPF, SCAN = TrafficModel(), TrafficModel(scan=3.0)
# Other traffic, each without a scan: what changes against ZIPF.
OTHERS: dict[str, TrafficModel] = {
    "gaps of 10 ms": replace(ZIPF, gap_s=0.01),
    "no trains": replace(ZIPF, train_pkts=1.0),
    "trains of 3, Zipf 0.8": replace(ZIPF, train_pkts=3.0, zipf=0.8),
    "Zipf 1.2": replace(ZIPF, zipf=1.2),
    "turnover 10 %/s": replace(ZIPF, turnover=0.1),
}
POLICIES: dict[str, Callable[[int, Trace], Policy]] = {
    "optimum": lambda capacity, packets: Optimum(capacity, packets.flows),
    "vfswitch": lambda capacity, _: Product(capacity),
    "LRU, sees hits": lambda capacity, _: LeastRecentlyUsed(capacity),
    "OVS groups": lambda capacity, _: EvictionGroups(capacity),
    "random": lambda capacity, _: AlwaysAdmitRandom(capacity),
}
OPTIMUM, PRODUCT = "optimum", "vfswitch"
PLOT = Path(__file__).resolve().parents[1] / "docs" / "nic_cache.svg"

Outcomes = dict[tuple[str, float], Outcome]


def _compare(job: tuple[TrafficModel, int]) -> Outcomes:
    model, seed = job
    packets = trace(model, seed)
    return {
        (name, part): replay(packets, make(int(part * model.flows), packets), int(part * model.flows))
        for part in PARTS
        for name, make in POLICIES.items()
    }


def _of_optimum(outcomes: Outcomes, name: str, part: float) -> float:
    return outcomes[name, part].hit_ratio / outcomes[OPTIMUM, part].hit_ratio


def _spread(values: list[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.3f}" if f"{low:.3f}" == f"{high:.3f}" else f"{low:.3f}-{high:.3f}"


def _rows(runs: list[Outcomes], before: list[Outcomes] | None) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for part in PARTS:
        for name in POLICIES:
            row: tuple[str, ...] = (f"{part:.0%}", name, f"{mean(run[name, part].hit_ratio for run in runs):.3f}")
            row += (_spread([_of_optimum(run, name, part) for run in runs]),)
            row += (f"{mean(run[name, part].installs for run in runs):.0f}",)
            if before:
                kept = [run[name, part].kept(once[name, part]) for run, once in zip(runs, before, strict=True)]
                row += tuple(f"{min(column):.3f}" for column in zip(*kept, strict=True))
            rows.append(row)
    return rows


def _decision_us(capacity: int = 10_000, flows: int = 200_000) -> dict[str, float]:
    """Return the processor time of one polled count, one refusal and one displacement, in microseconds."""
    timed = {}
    for name, packets in (("displaced", 4), ("refused", 0)):
        cache = NicCache(capacity)
        for flow in range(capacity):
            cache.missed(flow, flow % 64, 0.0)
        started_s = time.process_time()
        for flow in range(capacity):
            cache.counted(flow, 50, 1.0)
        timed["counted"] = (time.process_time() - started_s) / capacity * 1e6
        started_s = time.process_time()
        for number in range(flows):
            for gone in cache.missed(capacity + number, number % 64, 1.0).remove:
                cache.counted(gone, packets, 1.0)
        timed[name] = (time.process_time() - started_s) / flows * 1e6
    return {name: round(us, 1) for name, us in timed.items()}


def main() -> None:
    """Compare, print and draw."""
    models = [ZIPF, SCAN, *OTHERS.values()]
    jobs = [(model, seed) for model in models for seed in (SEEDS if model in (ZIPF, SCAN) else SEEDS[:1])]
    with Pool(2) as pool:
        results = dict(zip(jobs, pool.map(_compare, jobs, chunksize=1), strict=True))
    alone, mixed = ([results[model, seed] for seed in SEEDS] for model in (ZIPF, SCAN))
    headings = ("table", "policy", "hit ratio", "of optimum", "installs/1,000")
    print(f"Zipf in trains, seeds {SEEDS}")
    print_table(headings, _rows(alone, None))
    print("\nthe same with a scan of three times its rate; kept: part of the hit ratio before, worst of the seeds")
    print_table((*headings, "kept, worst VF", "kept, scanner's own"), _rows(mixed, alone))
    print("\nother traffic, without the scan, seed 1: part of the optimum's hit ratio")
    others = {label: results[model, SEEDS[0]] for label, model in OTHERS.items()}
    rows = [
        (label, name, *(f"{_of_optimum(run, name, part):.3f}" for part in PARTS))
        for label, run in others.items()
        for name in POLICIES
        if name != OPTIMUM
    ]
    print_table(("traffic", "policy", *(f"{part:.0%}" for part in PARTS)), rows)
    worst = min(_of_optimum(run, PRODUCT, part) for run in (*alone, *mixed) for part in PARTS)
    timed = _decision_us()
    print(f"\nworst of Zipf and scan: {worst:.3f} of the optimum (bar: {BAR:g}); microseconds: {timed}")
    series = {
        label: {
            name: [[_of_optimum(run, name, part) for run in runs] for part in PARTS]
            for name in POLICIES
            if name != OPTIMUM
        }
        for label, runs in (("Zipf traffic in trains", alone), ("with a scan at three times the rate", mixed))
    }
    draw(PLOT, series, PARTS, BAR)
    ratios = {
        label: {name: {str(part): round(_of_optimum(run, name, part), 4) for part in PARTS} for name in POLICIES}
        for label, run in (("zipf", alone[0]), ("scan", mixed[0]), *others.items())
    }
    print(json.dumps({"benchmark": "nic_cache", "of_optimum": ratios, "worst": round(worst, 4), "us": timed}))


if __name__ == "__main__":
    main()

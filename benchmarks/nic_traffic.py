"""Traffic for the comparison of NIC policies: Zipf over many flows, in trains of packets, and a scan mixed in.

The model, stated so that its limits are seen:

* Trains begin as a Poisson process. Each belongs to a flow drawn by Zipf's law with exponent `zipf`; flow ranks are
  spread over the vports by chance, so vports differ in traffic by chance only.
* A train has a geometric number of packets (mean `train_pkts`), with exponential gaps of mean `gap_s`.
* Every second a share `turnover` of the flows ends, and others of the same popularity begin: flow ids are never reused.
* The scan comes from vport SCANNER, besides its own trains: one-packet flows, never the same twice, at `scan` times
  the rate of all trains together. The trains are the same with the scan and without.

So the past tells a flow's rate, which a poll every second can count, but not when its next train comes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

VPORTS = 8
SCANNER = 0
Numbers = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficModel:
    """What decides a trace besides its seed."""

    flows: int = 20_000
    duration_s: float = 15.0
    pkts_per_s: float = 25_000.0
    zipf: float = 1.0
    train_pkts: float = 8.0
    gap_s: float = 0.002
    turnover: float = 0.01
    scan: float = 0.0


@dataclass(frozen=True, slots=True)
class Trace:
    """Packets in the order of time: when, of which flow; the vport of each flow, and how many flows are no scan."""

    times_s: list[float]
    flows: list[int]
    vport_of: list[int]
    trains: int


def trace(model: TrafficModel, seed: int) -> Trace:
    """Return the trace of a model; the same seed gives the same trace."""
    chance = np.random.default_rng(seed)
    times, flows, vport_of = _trains(model, chance)
    trains = len(vport_of)
    if model.scan:
        count = int(model.scan * model.pkts_per_s * model.duration_s)
        times = np.concatenate((times, np.sort(chance.uniform(0, model.duration_s, count))))
        flows = np.concatenate((flows, np.arange(len(vport_of), len(vport_of) + count)))
        vport_of = np.concatenate((vport_of, np.full(count, SCANNER)))
    order = np.argsort(times, kind="stable")
    return Trace(times[order].tolist(), flows[order].tolist(), vport_of.tolist(), trains)


def _trains(model: TrafficModel, chance: np.random.Generator) -> tuple[Numbers, Numbers, Numbers]:
    trains = int(model.pkts_per_s * model.duration_s / model.train_pkts)
    begin_s = np.sort(chance.uniform(0, model.duration_s, trains))
    weights = np.arange(1, model.flows + 1) ** -model.zipf
    ranks = np.searchsorted(np.cumsum(weights) / weights.sum(), chance.random(trains))
    # A flow of a rank lives from one of its ends to the next; each rank ends at its own moments.
    phase = chance.random(model.flows)
    life = (begin_s * model.turnover + phase[ranks]).astype(np.int64)
    _, flow_of_train = np.unique(ranks + life * model.flows, return_inverse=True)
    vport_of = chance.integers(0, VPORTS, flow_of_train.max() + 1)
    length = chance.geometric(1 / model.train_pkts, trains)
    flows = np.repeat(flow_of_train, length)
    gaps_s = chance.exponential(model.gap_s, len(flows))
    first = np.cumsum(length) - length
    gaps_s[first] = 0.0
    elapsed_s = np.cumsum(gaps_s)
    times = np.repeat(begin_s, length) + elapsed_s - np.repeat(elapsed_s[first], length)
    inside = times < model.duration_s
    return times[inside], flows[inside], vport_of

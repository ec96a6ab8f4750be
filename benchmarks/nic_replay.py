"""A trace played through a NIC table under one policy."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from benchmarks.nic_policies import Policy
from benchmarks.nic_traffic import SCANNER, VPORTS, Trace

POLL_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a policy did with a trace.

    hit_ratio is of all packets; hit_ratios of each vport's trains, scan apart; installs is entries written for each
    1,000 packets.
    """

    hit_ratio: float
    hit_ratios: tuple[float, ...]
    installs: float
    elapsed_s: float

    def kept(self, before: Outcome) -> tuple[float, float]:
        """Return which part of their hit ratio before the worst of the other vports has, and the scanner."""
        parts = [now / once for now, once in zip(self.hit_ratios, before.hit_ratios, strict=True)]
        return min(part for vport, part in enumerate(parts) if vport != SCANNER), parts[SCANNER]


def replay(packets: Trace, policy: Policy, capacity: int) -> Outcome:
    """Return the outcome: entries are there as soon as they are asked for, and the NIC is polled every POLL_S."""
    installed: dict[int, int] = {}
    hits = bytearray(len(packets.flows))
    installs, poll_s = 0, POLL_S
    vport_of, sees_hits, missed, hit = packets.vport_of, policy.sees_hits, policy.missed, policy.hit
    started_s = time.perf_counter()
    for number, (now_s, flow) in enumerate(zip(packets.times_s, packets.flows, strict=True)):
        if now_s >= poll_s:
            policy.polled(installed, now_s)
            poll_s += POLL_S
        count = installed.get(flow)
        if count is not None:
            installed[flow] = count + 1
            hits[number] = 1
            if sees_hits:
                hit(flow, now_s)
            continue
        removed = missed(flow, vport_of[flow], now_s)
        if removed is None:
            continue
        for gone in removed:
            policy.left(gone, installed.pop(gone), now_s)
        installed[flow] = 0
        installs += 1
        if len(installed) > capacity:
            raise RuntimeError(f"{type(policy).__name__} has {len(installed)} of {capacity} entries")
    elapsed_s = time.perf_counter() - started_s
    flows, flags = np.array(packets.flows), np.frombuffer(hits, np.uint8)
    trains = flows < packets.trains
    vports = np.array(vport_of)[flows[trains]]
    ratios = np.bincount(vports, flags[trains], VPORTS) / np.bincount(vports, minlength=VPORTS)
    return Outcome(
        hit_ratio=float(flags.mean()),
        hit_ratios=tuple(ratios.tolist()),
        installs=1000 * installs / len(flows),
        elapsed_s=elapsed_s,
    )

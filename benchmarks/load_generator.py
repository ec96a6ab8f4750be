"""Drives an OpenFlow 1.3 or 1.4 controller with packet-ins of new connections and measures its answers.

Run `python -m benchmarks.load_generator --connect 127.0.0.1:6653` against a learning switch that is already up.
An answer to a miss is a packet-out; flow-mods are counted beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Final

from benchmarks import learning, openflow
from benchmarks.fake_switch import FakeSwitch
from benchmarks.frames import ConnectionRing
from benchmarks.measurement import HEADINGS, Measurement, print_table, row, summary
from benchmarks.paced_load import measure_paced
from benchmarks.undisturbed import undisturbed

GENERATOR_CORE: Final = 1
CONTROLLER_CORE: Final = 0
_ANSWER_TIMEOUT_S: Final = 1.0


def measure(
    switch: FakeSwitch,
    ring: ConnectionRing,
    *,
    outstanding: int,
    slices: int,
    slice_s: float,
    pid: int | None = None,
    cpu_s: Callable[[], float] = float,
) -> Measurement:
    """Return the rate, with the latency of every answer when one is outstanding.

    pid is the controller's if it runs here; cpu_s tells how much processor time it has used so far.
    """
    switch.record = False
    cpu_before_s = cpu_s()
    flow_mods, idle_s, elapsed_s = switch.flow_mods, switch.idle_s, 0.0
    run = _one_by_one if outstanding == 1 else _windowed
    rates: list[float] = []
    latencies_us: list[float] = []
    sent = lost = 0
    for _ in range(slices):
        with undisturbed(pid):
            started = time.monotonic()
            rate, slice_sent, slice_lost = run(switch, ring, outstanding, slice_s, latencies_us)
            elapsed_s += time.monotonic() - started
        rates.append(rate)
        sent += slice_sent
        lost += slice_lost
    return Measurement(
        outstanding=outstanding,
        rates=tuple(rates),
        latencies_us=tuple(sorted(latencies_us)),
        sent=sent,
        lost=lost,
        flow_mods=switch.flow_mods - flow_mods,
        busy=1 - (switch.idle_s - idle_s) / elapsed_s,
        cpu_s=cpu_s() - cpu_before_s,
    )


def _one_by_one(
    switch: FakeSwitch, ring: ConnectionRing, _: int, slice_s: float, latencies_us: list[float]
) -> tuple[float, int, int]:
    """Return answers per second, misses sent and answers lost with one miss at a time."""
    clock = time.perf_counter_ns
    sent = lost = 0
    started = clock()
    end = started + int(slice_s * 1e9)
    while (asked := clock()) < end:
        before = switch.packet_outs
        switch.send(ring.take(1))
        sent += 1
        while switch.packet_outs == before:
            if not switch.pump(_ANSWER_TIMEOUT_S):
                lost += 1
                break
        else:
            latencies_us.append((clock() - asked) / 1000)
    return (sent - lost) / (clock() - started) * 1e9, sent, lost


def _windowed(
    switch: FakeSwitch, ring: ConnectionRing, outstanding: int, slice_s: float, _: list[float]
) -> tuple[float, int, int]:
    """Return answers per second, misses sent and answers lost with a window kept full.

    Answers that are lost shrink the window until nothing comes any more; then it is written off and filled again.
    """
    clock = time.monotonic
    base = switch.packet_outs
    sent = lost = 0
    started = clock()
    end = started + slice_s
    while clock() < end:
        free = outstanding - (sent - lost - (switch.packet_outs - base))
        if free > 0:
            switch.send(ring.take(free))
            sent += free
        if not switch.pump(_ANSWER_TIMEOUT_S):
            lost = sent - (switch.packet_outs - base)
    rate = (switch.packet_outs - base) / (clock() - started)
    while sent - lost > switch.packet_outs - base:
        if not switch.pump(_ANSWER_TIMEOUT_S):
            lost = sent - (switch.packet_outs - base)
    return rate, sent, lost


def pin(core: int) -> bool:
    """Keep this process on one core; False when the machine does not have it."""
    if core not in os.sched_getaffinity(0):
        return False
    os.sched_setaffinity(0, {core})
    return True


def main() -> int:
    """Measure a learning switch that is already running and print what came out."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--connect", default="127.0.0.1:6653", help="where the controller listens")
    parser.add_argument("--openflow", choices=openflow.VERSIONS, default="1.3")
    parser.add_argument("--outstanding", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--slices", type=int, default=6)
    parser.add_argument("--slice-s", type=float, default=0.5)
    parser.add_argument("--mac-pairs", type=int, default=1, help="pairs of MACs that the connections run between")
    parser.add_argument("--paced", type=float, help="also measure latency at this many misses per second")
    options = parser.parse_args()
    pin(GENERATOR_CORE)
    host, _, tcp_port = options.connect.rpartition(":")
    version = openflow.VERSIONS[options.openflow]
    switch = FakeSwitch(version, 1, learning.PORTS)
    switch.connect(host, int(tcp_port))
    learning.teach(switch, options.mac_pairs)
    ring = ConnectionRing(version, learning.templates(options.mac_pairs))
    measure(switch, ring, outstanding=64, slices=1, slice_s=0.5)
    load = {"slices": options.slices, "slice_s": options.slice_s}
    measured = [measure(switch, ring, outstanding=window, **load) for window in options.outstanding]
    if options.paced:
        measured.append(measure_paced(switch, ring, rate=options.paced, **load))
    switch.close()
    print_table(HEADINGS, [row(options.connect, each) for each in measured])
    print(json.dumps({"benchmark": "load_generator", "results": [summary(each) for each in measured]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The miss rate with a million unified flows present, against that of an empty cache, and the memory that they take.

The switch is the load generator's: it takes the entries and forgets them, so that what is measured is the controller.
The rates are of one controller as it starts by itself, with memory held for flows to come.
Memory is measured in another that holds none: what its resident set grows by is the flows'.
Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from benchmarks.fake_switch import FakeSwitch
from benchmarks.frames import ConnectionRing
from benchmarks.load_generator import CONTROLLER_CORE, GENERATOR_CORE, measure, pin
from benchmarks.measurement import Measurement, print_table
from benchmarks.peers import VFSWITCH, Peer, PeerFailed, running

FLOWS: Final = 1_000_000
OUTSTANDING: Final = 64
BAR: Final = 0.8
BAR_BYTES: Final = 600
_WARM_UP_S: Final = 0.2


def resident_bytes(pid: int) -> int:
    """Return the resident set of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Filled:
    """What a controller did with few flows and with many; bytes_per_flow is the growth of its resident set."""

    empty: Measurement
    full: Measurement
    present: int
    bytes_per_flow: float
    started_bytes: int


def fill(peer: Peer, core: int | None, flows: int) -> Filled:
    """Return what was measured of a controller while so many flows came."""
    with running(peer, core) as controller:
        switch = FakeSwitch(peer.version, 1, peer.ports)
        switch.connect("127.0.0.1", controller.place.of_port)
        ring = ConnectionRing(peer.version, peer.prepare(switch, controller.place))

        def take(slices: int, slice_s: float) -> Measurement:
            return measure(
                switch, ring, outstanding=OUTSTANDING, slices=slices, slice_s=slice_s,
                pid=controller.pid, cpu_s=controller.cpu_s,
            )  # fmt: skip

        present = take(1, _WARM_UP_S).sent
        before_bytes, before_flows = resident_bytes(controller.pid), present
        empty = take(4, 0.25)
        present += empty.sent
        while present < flows:
            present += take(1, 0.5).sent
        bytes_per_flow = (resident_bytes(controller.pid) - before_bytes) / (present - before_flows)
        full = take(4, 0.25)
        switch.close()
    return Filled(empty, full, present, bytes_per_flow, before_bytes)


def holding_none(peer: Peer) -> Peer:
    """Return a controller that holds no memory for flows to come."""
    return replace(peer, environment=lambda place: {**peer.environment(place), "VFSWITCH_READY_FLOWS": "0"})


def main() -> int:
    """Measure both, and print; 1 when a controller did not run."""
    parser = argparse.ArgumentParser(description="Compare a full host flow table with an empty one.")
    parser.add_argument("--flows", type=int, default=FLOWS)
    options = parser.parse_args()
    core = CONTROLLER_CORE if pin(GENERATOR_CORE) else None
    try:
        rates, memory = fill(VFSWITCH, core, options.flows), fill(holding_none(VFSWITCH), core, options.flows)
    except PeerFailed as error:
        print(error, file=sys.stderr)
        return 1
    report(rates, memory)
    return 0


def report(rates: Filled, memory: Filled) -> None:
    """Print the table, the verdicts and the JSON line."""
    rows = [
        (name, f"{each.rate:,.0f}", f"{each.cpu_us_per_answer:.1f}", str(each.lost))
        for name, each in (("nearly none", rates.empty), (f"{rates.present:,}", rates.full))
    ]
    print_table(("flows present", "misses/s", "CPU µs", "lost"), rows)
    by_rate = rates.full.rate / rates.empty.rate
    by_cpu = rates.empty.cpu_us_per_answer / rates.full.cpu_us_per_answer
    unheld = memory.full.rate / memory.empty.rate
    print(f"full / empty: {by_rate:.2f} by rate, {by_cpu:.2f} by processor time (bar: at least {BAR:g})")
    print(f"the same with no memory held from the start: {unheld:.2f} by rate, {memory.full.rate:,.0f} misses/s")
    print(f"memory: {memory.bytes_per_flow:.0f} bytes a flow, resident (bar: at most {BAR_BYTES})")
    held_mb, bare_mb = rates.started_bytes / 1e6, memory.started_bytes / 1e6
    print(f"resident with next to no flows: {held_mb:.0f} MB, with no memory held {bare_mb:.0f} MB")
    passed = by_rate >= BAR and memory.bytes_per_flow <= BAR_BYTES
    found = {
        "present": rates.present, "by_rate": by_rate, "by_cpu": by_cpu, "by_rate_unheld": unheld,
        "bytes_per_flow": memory.bytes_per_flow, "held_mb": held_mb - bare_mb,
    }  # fmt: skip
    print(json.dumps({"benchmark": "million_flows", **found, "pass": passed}))


if __name__ == "__main__":
    sys.exit(main())

"""The miss rate with a million unified flows present, against that of an empty cache, in one run of one controller.

The switch is the load generator's: it takes the entries and forgets them, so that what is measured is the controller.
Prints a table and one JSON line; the controller's memory is its resident set.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Final

from benchmarks.fake_switch import FakeSwitch
from benchmarks.frames import ConnectionRing
from benchmarks.load_generator import CONTROLLER_CORE, GENERATOR_CORE, measure, pin
from benchmarks.measurement import Measurement, print_table
from benchmarks.peers import VFSWITCH, PeerFailed, running
from ryu_apps.southbound.reserve import FLOW_BYTES, ready_flows

FLOWS: Final = 1_000_000
OUTSTANDING: Final = 64
BAR: Final = 0.8
BAR_BYTES: Final = 600
_WARM_UP_S: Final = 0.2


def resident_bytes(pid: int) -> int:
    """Return the resident set of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> int:
    """Measure, fill, measure again, and print; 1 when the controller did not run."""
    parser = argparse.ArgumentParser(description="Compare a full host flow table with an empty one.")
    parser.add_argument("--flows", type=int, default=FLOWS)
    options = parser.parse_args()
    core = CONTROLLER_CORE if pin(GENERATOR_CORE) else None
    try:
        with running(VFSWITCH, core) as controller:
            switch = FakeSwitch(VFSWITCH.version, 1, VFSWITCH.ports)
            switch.connect("127.0.0.1", controller.place.of_port)
            ring = ConnectionRing(VFSWITCH.version, VFSWITCH.prepare(switch, controller.place))

            def take(slices: int, slice_s: float) -> Measurement:
                return measure(
                    switch, ring, outstanding=OUTSTANDING, slices=slices, slice_s=slice_s,
                    pid=controller.pid, cpu_s=controller.cpu_s,
                )  # fmt: skip

            present = take(1, _WARM_UP_S).sent
            before_bytes, before_flows = resident_bytes(controller.pid), present
            empty = take(4, 0.25)
            present += empty.sent
            while present < options.flows:
                present += take(1, 0.5).sent
            # Of what is resident from the start most has become theirs.
            taken_bytes = resident_bytes(controller.pid) - before_bytes + ready_flows() * FLOW_BYTES
            bytes_per_flow = taken_bytes / (present - before_flows)
            full = take(4, 0.25)
            switch.close()
    except PeerFailed as error:
        print(error, file=sys.stderr)
        return 1
    report(empty, full, present, bytes_per_flow)
    return 0


def report(empty: Measurement, full: Measurement, present: int, bytes_per_flow: float) -> None:
    """Print the table, the verdicts and the JSON line."""
    rows = [
        (name, f"{each.rate:,.0f}", f"{each.cpu_us_per_answer:.1f}", str(each.lost))
        for name, each in (("nearly none", empty), (f"{present:,}", full))
    ]
    print_table(("flows present", "misses/s", "CPU µs", "lost"), rows)
    by_rate, by_cpu = full.rate / empty.rate, empty.cpu_us_per_answer / full.cpu_us_per_answer
    print(f"full / empty: {by_rate:.2f} by rate, {by_cpu:.2f} by processor time (bar: at least {BAR:g})")
    print(f"memory: {bytes_per_flow:.0f} bytes a flow, resident (bar: at most {BAR_BYTES})")
    passed = by_rate >= BAR and bytes_per_flow <= BAR_BYTES
    found = {"present": present, "by_rate": by_rate, "by_cpu": by_cpu, "bytes_per_flow": bytes_per_flow}
    print(json.dumps({"benchmark": "million_flows", **found, "pass": passed}))


if __name__ == "__main__":
    sys.exit(main())

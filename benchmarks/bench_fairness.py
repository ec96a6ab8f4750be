"""What a flood of misses by one VM does to another VM's first packets, as a ratio in one run.

Three sights: the load generator as a switch without meters, which floods the controller with misses of one kind, and
with misses of which no two are alike; and a real Open vSwitch whose VM sends new connections as fast as it is taken.
Prints a table and one JSON line; the real switch needs root and Open vSwitch, whose daemons it starts for itself.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any, Final, NamedTuple

from benchmarks import fairness_load, fairness_probe
from benchmarks.load_generator import CONTROLLER_CORE, GENERATOR_CORE, pin
from benchmarks.measurement import print_table
from benchmarks.packet_source import own_network
from benchmarks.peers import NO_TWO_ALIKE, VFSWITCH, Peer, running
from benchmarks.switch_site import MORE, MOST, Site, favour, register_vm, site
from mininet_scripts.support.waiting import wait_until

BAR: Final = 2.0
RATE: Final = 100_000
VMS: Final = 4
REAL: Final = "real switch"
GENERATED: Final = {"load generator, one kind": VFSWITCH, "load generator, none alike": NO_TWO_ALIKE}
HEADINGS: Final = (
    "first packets of the quiet VM", "flood offered/s", "taken/s", "p50 µs", "p99 µs", "max µs", "sent", "lost",
)  # fmt: skip


class Seen(NamedTuple):
    """What one sight showed: latencies of the quiet VM's first packets, how many it sent, and the flood per second.

    What of the flood is not taken is lost between its VM and the switch.
    """

    latencies_us: tuple[float, ...]
    sent: int
    offered_per_s: float = 0.0
    taken_per_s: float = 0.0

    def percentile_us(self, share: float) -> float:
        """Return the latency that the share of the packets that arrived stayed within."""
        ordered = sorted(self.latencies_us)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("inf")

    @property
    def lost(self) -> int:
        """Packets that did not arrive."""
        return self.sent - len(self.latencies_us)


Pair = dict[str, Seen]


def generated(peer: Peer, options: argparse.Namespace) -> Pair:
    """Return what the load generator sees, quiet and under its flood."""
    core = CONTROLLER_CORE if GENERATOR_CORE in os.sched_getaffinity(0) else None
    with running(peer, core) as controller:
        cores = os.sched_getaffinity(0)
        pin(GENERATOR_CORE)
        favour(controller.pid, MOST)
        favour(0, MOST)
        try:
            found, sent = fairness_load.measure(peer, controller, rate=options.rate, duration_s=options.seconds)
        finally:
            os.sched_setaffinity(0, cores)
            favour(0, 0)
    flood = {"quiet": 0.0, "flood": sent / options.seconds}
    return {name: Seen(tuple(us), len(us) + lost, flood[name], flood[name]) for name, (us, lost) in found.items()}


def real(options: argparse.Namespace) -> tuple[Pair, dict[str, Any]]:
    """Return what a real switch shows, quiet and under a flood, and what the flooder's figures are afterwards."""
    vport: dict[str, Any] = {} if options.miss_rate is None else {"miss_rate_pps": options.miss_rate or None}
    count = round(options.real_seconds / 0.005)
    with site(options.set, VMS, first=False, **vport) as running_site:
        favour(0, MORE)
        # It sends a packet now and then, and what it waits for then is no part of what is measured.
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(3))
        devices = running_site.devices
        fairness_probe.first_packets(devices, 0, 100)
        quiet = Seen(tuple(fairness_probe.first_packets(devices, 1000, count)), count)
        _forget_quiet(running_site, vport)
        with fairness_probe.flooding(devices, options.rate) as flood:
            latencies_us = fairness_probe.first_packets(devices, 1000 + count, count)
        flooded = Seen(tuple(latencies_us), count, flood.offered_per_s, flood.taken_per_s)
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        favour(0, 0)
        stats = running_site.controller.client.get("/v1/stats")
    flooder = stats["vports"]["vm1"]
    figures = {"answered": flooder["misses"], "refused": flooder["refused"], "flows": stats["flows"]}
    return {"quiet": quiet, "flood": flooded}, figures


def _forget_quiet(running_site: Site, vport: dict[str, Any]) -> None:
    """Have the switch without the quiet VM's connections: each of them costs it time, and both runs begin with none."""
    client = running_site.controller.client
    client.delete(f"/v1/vports/vm{fairness_probe.QUIET + 1}")
    register_vm(running_site.controller, running_site.devices, fairness_probe.QUIET, **vport)
    wait_until(lambda: not client.get("/v1/stats")["flows"], 20, "the connections to be gone")


def rows(name: str, pair: Pair) -> list[tuple[str, ...]]:
    """Return the lines of one sight for the table."""
    return [
        (f"{name}, {state}", f"{seen.offered_per_s:,.0f}", f"{seen.taken_per_s:,.0f}",
         *(f"{seen.percentile_us(share):,.0f}" for share in (0.5, 0.99, 1)), f"{seen.sent}", f"{seen.lost}")
        for state, seen in pair.items()
    ]  # fmt: skip


def ratio(pair: Pair, share: float) -> float:
    """Return a percentile under the flood over the quiet one."""
    return pair["flood"].percentile_us(share) / pair["quiet"].percentile_us(share)


def main() -> int:
    """Measure and print; return the exit status."""
    options = _options()
    found: dict[str, Pair] = {}
    figures: dict[str, Any] = {}
    for name, peer in GENERATED.items():
        if name in options.sights:
            found[name] = generated(peer, options)
    if REAL in options.sights:
        if os.geteuid():
            print("the real switch needs root", file=sys.stderr)
            return 2
        own_network()
        found[REAL], figures = real(options)
    print_table(HEADINGS, [line for name, pair in found.items() for line in rows(name, pair)])
    for name, pair in found.items():
        met = ratio(pair, 0.99) <= BAR and not pair["flood"].lost
        print(f"{name}: p50 {ratio(pair, 0.5):.2f} x quiet, p99 {ratio(pair, 0.99):.2f} x quiet; "
              f"bar: at most {BAR:g} and no loss: {'met' if met else 'NOT met'}")  # fmt: skip
    summary = {
        name: {"p50_ratio": round(ratio(pair, 0.5), 3), "p99_ratio": round(ratio(pair, 0.99), 3)}
        | {state: {"p50_us": round(seen.percentile_us(0.5), 1), "p99_us": round(seen.percentile_us(0.99), 1),
                   "sent": seen.sent, "lost": seen.lost, "offered_per_s": round(seen.offered_per_s),
                   "taken_per_s": round(seen.taken_per_s)}
           for state, seen in pair.items()}
        for name, pair in found.items()
    }  # fmt: skip
    print(json.dumps({"benchmark": "fairness", "bar": BAR, "rate": options.rate, "seconds": options.seconds,
                      "real_seconds": options.real_seconds, "settings": options.set, "results": summary,
                      "flooder": figures}))  # fmt: skip
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare a VM's first-packet latency with and without a flood.")
    parser.add_argument("--sights", nargs="+", choices=[*GENERATED, REAL], default=[*GENERATED, REAL])
    parser.add_argument("--rate", type=int, default=RATE, help="misses a second that the flooding VM offers")
    parser.add_argument("--seconds", type=float, default=3.0, help="of the load generator, quiet and flood each")
    parser.add_argument("--real-seconds", type=float, default=15.0, help="of the real switch, quiet and flood each")
    parser.add_argument("--miss-rate", type=int, help="miss_rate_pps of the VFs, 0 for none; else their default")
    parser.add_argument("--set", nargs="*", default=["max-idle=100"], help="other_config of Open vSwitch")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

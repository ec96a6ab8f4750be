"""Misses per second of vfswitch beside simple_switch_13 and ovs-testcontroller, all in one run.

vfswitch walks three stateful layers of 100 rules for each miss; the others look up a MAC.
Run `python -m benchmarks.bench_miss_rate`; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Final

from benchmarks.fake_switch import FakeSwitch
from benchmarks.frames import ConnectionRing
from benchmarks.load_generator import CONTROLLER_CORE, GENERATOR_CORE, measure, pin
from benchmarks.measurement import HEADINGS, Measurement, print_table, row, summary
from benchmarks.peers import PEERS, SIMPLE_SWITCH, VFSWITCH, Peer, PeerFailed, running

BAR: Final = 5.0
BAR_OUTSTANDING: Final = 64
_WARM_UP_S: Final = 0.5

Results = dict[int, Measurement]


def run_peer(peer: Peer, options: argparse.Namespace, core: int | None) -> Results:
    """Return what one start of a controller showed, by the number of misses outstanding."""
    with running(peer, core) as controller:
        switch = FakeSwitch(peer.version, 1, peer.ports)
        switch.connect("127.0.0.1", controller.place.of_port)
        ring = ConnectionRing(peer.version, peer.prepare(switch, controller.place))
        load = {"slices": options.slices, "slice_s": options.slice_s, "cpu_s": controller.cpu_s}
        measure(switch, ring, outstanding=BAR_OUTSTANDING, slices=1, slice_s=_WARM_UP_S)
        results = {count: measure(switch, ring, outstanding=count, **load) for count in options.outstanding}
        switch.close()
    return results


def ratios(merged: dict[str, Results]) -> dict[str, dict[int, float]]:
    """Return vfswitch's median rate over that of each other controller, by the number outstanding."""
    ours = merged.get(VFSWITCH.name, {})
    return {
        name: {n: ours[n].rate / theirs[n].rate for n in theirs if n in ours and theirs[n].rate}
        for name, theirs in merged.items()
        if name != VFSWITCH.name
    }


def verdict(merged: dict[str, Results]) -> str:
    """Return in words whether vfswitch reaches the bar; no test stands on it, since machines differ."""
    bar = f"at least {BAR:g} x {SIMPLE_SWITCH.name} with {BAR_OUTSTANDING} outstanding"
    ratio = ratios(merged).get(SIMPLE_SWITCH.name, {}).get(BAR_OUTSTANDING)
    if ratio is None:
        return f"bar: {bar}: not measured"
    lost = merged[VFSWITCH.name][BAR_OUTSTANDING].lost
    passed = ratio >= BAR and not lost
    return f"bar: {bar}: {'pass' if passed else 'fail'} ({ratio:.1f} x, {lost} answers lost)"


def report(merged: dict[str, Results], failures: dict[str, str]) -> None:
    """Print the table, the ratios, the verdict and the JSON line."""
    print_table(HEADINGS, [row(name, each) for name, results in merged.items() for each in results.values()])
    for name, by_outstanding in ratios(merged).items():
        for outstanding, ratio in by_outstanding.items():
            print(f"{VFSWITCH.name} / {name}, {outstanding} outstanding: {ratio:.2f}")
    print(verdict(merged))
    found = {
        "benchmark": "miss_rate",
        "results": {name: [summary(each) for each in results.values()] for name, results in merged.items()},
        "ratios": ratios(merged),
        "failed": sorted(failures),
        "verdict": verdict(merged),
    }
    print(json.dumps(found))


def main() -> int:
    """Measure all controllers, one after the other and in turn, and print what came out; 1 when one did not run."""
    options = _options()
    core = CONTROLLER_CORE if pin(GENERATOR_CORE) else None
    if core is None:
        print(f"no core {GENERATOR_CORE} here: generator and controller are not pinned, and the figures mean little")
    merged: dict[str, Results] = {}
    failures: dict[str, str] = {}
    for _ in range(options.rounds):
        for name in options.controllers:
            if name in failures:
                continue
            try:
                results = run_peer(PEERS[name], options, core)
            except PeerFailed as error:
                failures[name] = str(error)
                print(error, file=sys.stderr)
                continue
            earlier = merged.setdefault(name, {})
            for outstanding, measured in results.items():
                earlier[outstanding] = earlier[outstanding].merged(measured) if outstanding in earlier else measured
    report(merged, failures)
    return 1 if failures else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare what a miss costs in several controllers.")
    parser.add_argument("--controllers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--outstanding", type=int, nargs="+", default=[1, BAR_OUTSTANDING])
    parser.add_argument("--rounds", type=int, default=2, help="how often each controller is started and measured")
    parser.add_argument("--slices", type=int, default=4)
    parser.add_argument("--slice-s", type=float, default=0.5)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

"""Misses per second of vfswitch beside simple_switch_13 and ovs-testcontroller, all in one run.

vfswitch has three stateful layers of 100 rules for each miss; the others look up a MAC.
Connections of one VM and destination differ in source address and port, at which no rule looks; a second row shows
vfswitch with one more rule that looks at source ports, so that no two misses are alike and each walks the layers.
A third kind of load is paced at half the rate that 64 outstanding misses gave, and shows latencies under load.
A bare socket loop that decides nothing takes part, and shows which of these are the machine's own.
Generator and controller run at real-time priority where that is permitted, each on a core: what else the machine does
is kept out, and what of it is not is told (see `paced_load`).
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
from benchmarks.paced_load import measure_paced
from benchmarks.peers import PEERS, SIMPLE_SWITCH, TESTCONTROLLER, VFSWITCH, Peer, PeerFailed, running

BAR_OUTSTANDING: Final = 64
# Rate at least so many times that of a peer with 64 outstanding; latency of one at most so many times the C peer's.
BARS: Final = {SIMPLE_SWITCH.name: 10.0, TESTCONTROLLER.name: 1.0}
P50_BAR: Final = 1.25
P99_BAR: Final = 5.0
PACED: Final = 0
_WARM_UP_S: Final = 0.5

Results = dict[int, Measurement]


def run_peer(peer: Peer, options: argparse.Namespace, core: int | None) -> Results:
    """Return what one start of a controller showed, by the number of misses outstanding."""
    with running(peer, core) as controller:
        switch = FakeSwitch(peer.version, 1, peer.ports)
        switch.connect("127.0.0.1", controller.place.of_port)
        ring = ConnectionRing(peer.version, peer.prepare(switch, controller.place))
        load = {"slices": options.slices, "slice_s": options.slice_s, "pid": controller.pid}
        measure(switch, ring, outstanding=BAR_OUTSTANDING, slices=1, slice_s=_WARM_UP_S)
        results = {
            count: measure(switch, ring, outstanding=count, cpu_s=controller.cpu_s, **load)
            for count in options.outstanding
        }
        if BAR_OUTSTANDING in results:
            rate = results[BAR_OUTSTANDING].rate / 2
            results[PACED] = measure_paced(switch, ring, rate=rate, **load)
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


def verdicts(merged: dict[str, Results]) -> list[str]:
    """Return in words whether vfswitch reaches each bar; no test stands on it, since machines differ."""
    ours = merged.get(VFSWITCH.name, {})
    lines = []
    for name, bar in BARS.items():
        ratio = ratios(merged).get(name, {}).get(BAR_OUTSTANDING)
        if ratio is not None:
            bar_text = f"misses/s at least {bar:g} x {name}, {BAR_OUTSTANDING} outstanding"
            lines.append(_line(bar_text, ratio, ratio >= bar))
    theirs = merged.get(TESTCONTROLLER.name, {})
    own, other = (results[1].percentile_us(0.5) if 1 in results else None for results in (ours, theirs))
    if own and other:
        lines.append(_line(f"p50 at most {P50_BAR:g} x {TESTCONTROLLER.name}", own / other, own <= P50_BAR * other))
    tails = {name: tail for name, results in merged.items() if (tail := _tail(results)) is not None}
    own_tail = tails.pop(VFSWITCH.name, None)
    if own_tail is not None:
        lines.append(_line(f"p99 at half load at most {P99_BAR:g} x p50", own_tail, own_tail <= P99_BAR))
        lines += [f"p99 at half load of {name}: {tail:.2f} x its p50" for name, tail in tails.items()]
    lost = sum(each.lost for each in ours.values())
    return [*lines, f"answers lost: {lost}"]


def _tail(results: Results) -> float | None:
    """Return p99 over p50 at half load, if that was measured."""
    paced = results.get(PACED)
    p50, p99 = (paced.percentile_us(share) if paced else None for share in (0.5, 0.99))
    return p99 / p50 if p50 and p99 else None


def _line(bar: str, ratio: float, passed: bool) -> str:
    return f"bar: {bar}: {'pass' if passed else 'fail'} ({ratio:.2f})"


def report(merged: dict[str, Results], failures: dict[str, str]) -> None:
    """Print the table, the ratios, the verdict and the JSON line."""
    print_table(HEADINGS, [row(name, each) for name, results in merged.items() for each in results.values()])
    for name, by_outstanding in ratios(merged).items():
        for outstanding, ratio in by_outstanding.items():
            if outstanding != PACED:
                print(f"{VFSWITCH.name} / {name}, {outstanding} outstanding: {ratio:.2f}")
    print("\n".join(verdicts(merged)))
    found = {
        "benchmark": "miss_rate",
        "results": {name: [summary(each) for each in results.values()] for name, results in merged.items()},
        "ratios": ratios(merged),
        "failed": sorted(failures),
        "verdicts": verdicts(merged),
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

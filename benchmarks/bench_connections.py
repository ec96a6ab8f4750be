"""New connections per second from end to end without loss: a real Open vSwitch and the controller, a core each.

A connection is a fresh 5-tuple whose packets go back and forth between two VMs of one host behind three stateful
layers; the second VM lets nothing out and the first nothing in by itself, so that every answer rests on its connection.
Each step follows the one before it by 50 ms, and never what has not arrived: ends answer what they have received.
A rate holds when every packet of a run arrives.
The bridge keeps as many packet-ins for the controller as Open vSwitch allows.
Prints a table and one JSON line; needs root and Open vSwitch, whose daemons it starts for itself.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from benchmarks.measurement import print_table
from benchmarks.packet_source import ACK, FIN_ACK, SYN, SYN_ACK, Source, Step, deliveries, own_network
from benchmarks.switch_site import CONTROLLER_CORE, LAYERS, SENDER_PRIORITY, SWITCH_CORE, Site, cpu_s, mac_of, site
from ryu_apps.control.life import HALF_OPEN_PER_VPORT

BAR: Final = 7_500
# None of them is the bar itself: a run reaches a little less than it asks for.
RATES: Final = (2_500, 5_000, 7_000, 8_000, 9_000, 10_000, 12_500, 15_000, 20_000, 25_000)
STEP_S: Final = 0.05
# What has not arrived so long after it was sent is lost.
GIVEN_UP_S: Final = 1.0
TICK_S: Final = 0.002
VMS: Final = 2

KINDS: Final[dict[str, tuple[Step, ...]]] = {
    "TCP set up": (Step(True, SYN), Step(False, SYN_ACK), Step(True, ACK)),
    "TCP set up and closed": (
        Step(True, SYN), Step(False, SYN_ACK), Step(True, ACK),
        Step(True, FIN_ACK), Step(False, FIN_ACK), Step(True, ACK),
    ),
    "UDP question and answer": (Step(True, None), Step(False, None)),
}  # fmt: skip
CLIENT_MAC, SERVER_MAC = mac_of(0), mac_of(1)


class Try(NamedTuple):
    """What one run showed: the rate asked for and reached, packets sent and lost, packet-ins, processor shares."""

    asked: int
    rate: float
    sent: int
    lost: int
    misses: int
    switch_share: float
    controller_share: float


def run(rate: int, steps: Sequence[Step], duration_s: float, settings: Sequence[str]) -> Try:
    """Return what a fresh switch and controller make of a rate."""
    with site(settings, VMS, half_open=HALF_OPEN_PER_VPORT, miss_rate_pps=None) as running:
        sources = [
            Source(running.devices[not step.from_client], step, CLIENT_MAC, SERVER_MAC)
            for step in steps
        ]
        pids = (running.ovs.daemons.switch_pid, running.controller.pid)
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(SENDER_PRIORITY))
        _send(running, sources, steps, 100, 50, 0)  # warms up, with connections of its own
        _settle(running)
        arrived, used, misses = _arrived(running), [cpu_s(pid) for pid in pids], _misses(running)
        started = time.monotonic()
        count = round(rate * duration_s)
        _send(running, sources, steps, rate, count, 1000)
        took_s = time.monotonic() - started
        used = [cpu_s(pid) - before for pid, before in zip(pids, used, strict=True)]
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        _settle(running)
        sent = count * len(steps)
        lost = sent - (_arrived(running) - arrived)
        for source in sources:
            source.close()
        paced_s = took_s - (len(steps) - 1) * STEP_S
        return Try(rate, count / paced_s, sent, lost, _misses(running) - misses, used[0] / took_s, used[1] / took_s)


def _send(running: Site, sources: Sequence[Source], steps: Sequence[Step], rate: float, total: int, first: int) -> None:
    """Send every step of so many connections, begun at an even rate."""
    done = [0] * len(sources)
    receivers = [running.devices[step.from_client] for step in steps]
    before = deliveries()
    ways = {device: _Way(before[device]) for device in running.devices}
    started = time.monotonic()
    while done[-1] < total:
        elapsed_s = time.monotonic() - started
        arrived = deliveries()
        missing = {device: way.missing(elapsed_s, arrived[device]) for device, way in ways.items()}
        for number, source in enumerate(sources):
            due = min(total, int(rate * (elapsed_s - number * STEP_S)))
            if number:
                # What has not arrived at its end counts as of the step before.
                due = min(due, done[number - 1] - missing[receivers[number - 1]])
            if due > done[number]:
                source.send(first + done[number], due - done[number])
                ways[receivers[number]].sent += due - done[number]
                done[number] = due
        time.sleep(TICK_S)


class _Way:
    """What has been sent to a device, and how much of it is still to arrive."""

    def __init__(self, before: int) -> None:
        self.sent = 0
        self._before = before
        self._lost = 0
        self._history: deque[tuple[float, int]] = deque()

    def missing(self, now_s: float, delivered: int) -> int:
        """Return how many packets are on their way; what was sent GIVEN_UP_S ago and has not arrived is lost."""
        arrived = delivered - self._before
        self._history.append((now_s, self.sent))
        while self._history[0][0] < now_s - GIVEN_UP_S:
            _, sent = self._history.popleft()
            self._lost = max(self._lost, sent - arrived)
        return max(0, self.sent - arrived - self._lost)


def _settle(running: Site) -> None:
    """Return when nothing has arrived for half a second."""
    before = -1
    while (now := _arrived(running)) != before:
        before = now
        time.sleep(0.5)


def _arrived(running: Site) -> int:
    counted = deliveries()
    return sum(counted[device] for device in running.devices)


def _misses(running: Site) -> int:
    return int(running.controller.client.get("/v1/stats")["counts"].get("misses", 0))


def search(kind: str, options: argparse.Namespace) -> list[Try]:
    """Return runs at rising rates up to the first that no attempt came through without loss."""
    tries: list[Try] = []
    for rate in options.rates:
        for _ in range(options.attempts):
            tried = run(rate, KINDS[kind], options.seconds, options.set)
            tries.append(tried)
            print(
                f"{kind}: {rate:,}/s: {tried.lost:,} of {tried.sent:,} packets lost, {tried.misses:,} misses, "
                f"switch {tried.switch_share:.0%}, controller {tried.controller_share:.0%}",
                file=sys.stderr,
            )
            if not tried.lost:
                break
        else:
            break
    return tries


def _best(tries: Sequence[Try]) -> Try | None:
    """Return the lossless run of the highest rate that was truly sent."""
    return max((each for each in tries if not each.lost), key=lambda each: each.rate, default=None)


def main() -> int:
    """Measure and print; return the exit status."""
    options = _options()
    if os.geteuid():
        print("needs root", file=sys.stderr)
        return 2
    own_network()
    found = {kind: search(kind, options) for kind in options.kinds}
    rows = []
    for kind, tries in found.items():
        best = _best(tries)
        cells = ("0", "", "", "") if best is None else (
            f"{best.rate:,.0f}", f"{best.misses / (best.sent / len(KINDS[kind])):.2f}",
            f"{best.switch_share:.0%}", f"{best.controller_share:.0%}",
        )  # fmt: skip
        rows.append((kind, *cells))
    print(f"{options.seconds:g} s a run, {LAYERS} stateful layers, switch on core {SWITCH_CORE}, controller on core "
          f"{CONTROLLER_CORE}, the generator on what they leave of {os.cpu_count()} cores")  # fmt: skip
    print_table(("lossless, end to end", "connections/s", "misses each", "switch", "controller"), rows)
    bests = [best.rate for tries in found.values() if (best := _best(tries)) is not None]
    met = len(bests) == len(found) and min(bests) >= BAR * 0.99
    print(f"bar: {BAR:,} connections/s of every kind: {'met' if met else 'NOT met'}")
    figures = {kind: [each._asdict() for each in tries] for kind, tries in found.items()}
    print(json.dumps({"benchmark": "connections", "bar": BAR, "met": met, "seconds": options.seconds,
                      "settings": options.set, "runs": figures}))  # fmt: skip
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Find how many new connections a second go through without loss.")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--rates", type=int, nargs="+", default=RATES)
    parser.add_argument("--set", nargs="*", default=[], help="other_config of Open vSwitch: max-idle=200")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--attempts", type=int, default=3, help="how often a rate is tried before it counts as lossy")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

"""Policy put over REST with a real Open vSwitch behind it: how long until the switch has confirmed.

A userspace datapath with ports fed by the kernel; 50,000 connections are begun through it, of two entries each.
Then: a group of 10,000 rules by one PUT, single rules by one client, a rule that touches 1,000 of the connections,
and a restart of the controller that finds all entries to compare.
Prints a table and one JSON line; needs root and Open vSwitch, whose daemons it starts for itself.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import re
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from benchmarks.bench_connections import CLIENT_MAC, VMS
from benchmarks.measurement import print_table
from benchmarks.packet_source import ACK, Source, Step, own_network
from benchmarks.switch_site import Site, site
from mininet_scripts.support.policy import group, lone_rule, rule
from mininet_scripts.support.waiting import wait_until

FLOWS: Final = 50_000
BURST: Final = 2000
RULES: Final = 10_000
PUTS: Final = 1000
SINGLE_RULES: Final = {"rule_puts_per_s": "layer1/groups/many", "rule_puts_per_s_small_group": "layer2/groups/few"}
BARS: Final = {"group_put_s": 2.0, "rule_puts_per_s": 500.0, "touching_1000_ms": 250.0, "reconcile_s": 5.0}
# The source ports of the first thousand connections.
TOUCHED: Final = (1024, 2023)
_OUTSIDE_MAC: Final = "02:00:00:00:99:01"
_RESEND_S: Final = 1.0
_BURST_TIMEOUT_S: Final = 20.0
_ENTRY: Final = re.compile(r"cookie=0xf5[456].*?tcp,.*?tp_src=(\d+),tp_dst=(\d+) actions=(\S+)")


def begin(running: Site, count: int) -> float:
    """Let the first VM begin connections to the outside, a burst at a time; return the seconds until all are known.

    They begin with a packet that is no SYN, so that they are not half open and last for 300 s.
    A burst of which something was lost is sent again, as senders would.
    """
    source = Source(running.devices[0], Step(True, ACK), CLIENT_MAC, _OUTSIDE_MAC)
    started_s = time.monotonic()
    for first in range(0, count, BURST):
        wanted = min(count, first + BURST)
        deadline_s = time.monotonic() + _BURST_TIMEOUT_S
        while (known := _flows(running)) < wanted:
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"{known} of {wanted} connections after {_BURST_TIMEOUT_S} s")
            source.send(first, wanted - first)
            with contextlib.suppress(TimeoutError):
                wait_until(lambda: _flows(running), _RESEND_S, "the burst", until=wanted.__le__)
    source.close()
    return time.monotonic() - started_s


def _flows(running: Site) -> int:
    return int(running.controller.client.get("/v1/stats")["flows"])


def entries(running: Site) -> list[tuple[int, int, str]]:
    """Return source port, destination port and actions of all entries of TCP connections."""
    dumped = running.ovs.ofctl("dump-flows", "nic", options=["--no-names"])
    return [(int(src), int(dst), actions) for src, dst, actions in _ENTRY.findall(dumped)]


def rules(count: int) -> list[dict[str, Any]]:
    """Return rules of three shapes that no connection of `begin` meets."""
    shapes: tuple[Callable[[int], dict[str, Any]], ...] = (
        lambda n: {"ip_proto": "tcp", "l4_dst": str(30_000 + n)},
        lambda n: {"ip_proto": "udp", "ipv4_dst": f"198.51.{n % 256}.0/24", "l4_dst": f"{n}-{n + 9}"},
        lambda n: {"ip_proto": "tcp", "ipv4_src": f"192.0.2.{n % 256}", "l4_dst": str(30_000 + n)},
    )
    return [rule(f"r{n}", "deny", **shapes[n % 3](n)) for n in range(count)]


class Client:
    """One client that keeps its connection."""

    def __init__(self, rest_port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", rest_port, timeout=60)

    def put(self, path: str, body: object) -> float:
        """Return the seconds that a PUT took until its success."""
        data = json.dumps(body)
        started_s = time.perf_counter()
        self._connection.request("PUT", f"/v1/{path}", data, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        text = answer.read()
        elapsed_s = time.perf_counter() - started_s
        if answer.status not in (200, 201):
            raise RuntimeError(f"PUT {path}: {answer.status} {text.decode(errors='replace')}")
        return elapsed_s


def measure(running: Site, flows: int) -> dict[str, float]:
    """Return the figures, by the names of BARS."""
    found: dict[str, float] = {}
    client = Client(running.controller.rest_port)
    client.put("layers/layer1/groups/many", group("outbound", priority=200))
    client.put("layers/layer2/groups/few", group("outbound", priority=200))
    found["begin_s"] = begin(running, flows)
    wait_until(lambda: len(entries(running)), 60, f"{2 * flows} entries", until=lambda here: here >= 2 * flows)
    found["group_put_s"] = client.put("layers/layer1/groups/many", group("outbound", *rules(RULES), priority=200))
    for name, path in SINGLE_RULES.items():
        started_s = time.perf_counter()
        for n in range(PUTS):
            one = lone_rule("deny", priority=7, ip_proto="tcp", l4_dst=str(20_000 + n))
            client.put(f"layers/{path}/rules/own{n}", one)
        found[name] = PUTS / (time.perf_counter() - started_s)
    low, high = TOUCHED
    denied = lone_rule("deny", priority=900, ip_proto="tcp", l4_src=f"{low}-{high}")
    found["touching_1000_ms"] = client.put("layers/layer2/groups/few/rules/touching", denied) * 1000
    present = entries(running)
    passing = [entry for entry in present if low <= max(entry[:2]) <= high and entry[2] != "drop"]
    if passing:
        raise RuntimeError(f"{len(passing)} entries still let denied connections pass")
    running.controller.kill9()
    running.controller.start()
    started_s = time.perf_counter()

    def live() -> dict[str, Any]:
        return dict(running.controller.client.get("/v1/hosts/h1")["live"])

    agreed = wait_until(live, 60, "the switch to agree", until=lambda now: now["state"] == "ready")
    found["reconcile_s"] = time.perf_counter() - started_s
    found["reconciled_entries"] = agreed["kept_entries"]
    # Refusals of connections that are silent go soon.
    if agreed["kept_entries"] < len(present) - (high - low + 1):
        raise RuntimeError(f"only {agreed['kept_entries']} of {len(present)} entries were kept")
    return found


def main() -> int:
    """Start all of it, measure, stop it, and print; return the exit status."""
    parser = argparse.ArgumentParser(description="Measure policy changes on a real switch.")
    parser.add_argument("--flows", type=int, default=FLOWS)
    options = parser.parse_args()
    if os.geteuid():
        print("needs root", file=sys.stderr)
        return 2
    own_network()
    # The datapath forgets what it has learned from the entries soon; keeping so much current is all it would do.
    with site(["max-idle=100"], VMS, pinned=False, miss_rate_pps=None) as running:
        found = measure(running, options.flows)
    rows = [(name, f"{value:,.3g}" if value < 100 else f"{value:,.0f}", f"{BARS[name]:g}" if name in BARS else "")
            for name, value in found.items()]  # fmt: skip
    print_table(("what", "measured", "bar"), rows)
    passed = {
        name: found[name] >= bar if name == "rule_puts_per_s" else found[name] <= bar for name, bar in BARS.items()
    }
    print(f"bars: {'pass' if all(passed.values()) else 'fail: ' + ', '.join(n for n, ok in passed.items() if not ok)}")
    print(json.dumps({"benchmark": "real_switch", **found, "pass": passed}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

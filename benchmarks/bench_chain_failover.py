"""What a connection loses when the instance of a function that it passes fails, until the other one has taken over.

Two ways to fail: the link goes down, which the switch sees by itself, and standing still with the links up, which
probes find out: sent every 200 ms, lost after 200 ms, failed after three in a row.
The instances are Linux bridges; frozen, their bridge is down and their ports are up.
Prints a table and one JSON line; needs root.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import sleep
from typing import Any, NamedTuple

from mininet.net import Mininet

from benchmarks.measurement import print_table
from mininet_scripts.support import functions, hosts, network, registration, traffic
from mininet_scripts.support.controller import Controller
from mininet_scripts.support.registration import address_of
from mininet_scripts.support.rest import RestClient
from mininet_scripts.support.waiting import wait_until
from topologies.chain_hosts import ChainHosts

RATE_PPS = 1000
PORT = 7000
FAILURES = 5
BAR_MS = 1000
PROBE = {"interval_ms": 200, "timeout_ms": 200, "fall": 3, "rise": 3}
INSTANCES = ("fwa1", "fwb1")


class Failover(NamedTuple):
    """One failure under steady traffic: packets sent and lost, and the longest silence at the receiver."""

    sent: int
    lost: int
    silence_ms: float


WAYS: Mapping[str, Callable[[Mininet, str], AbstractContextManager[None]]] = {
    "link down": lambda _, name: functions.unplugged(f"h1f-{name}-in"),
    "frozen": lambda net, name: functions.stopped(net[name]),
}


def main() -> int:
    """Measure and print; return the exit status."""
    try:
        network.check_ready()
    except network.NotReady as reason:
        print(reason, file=sys.stderr)
        return 2
    found: dict[str, list[Failover]] = {kind: [] for kind in WAYS}
    with (
        tempfile.TemporaryDirectory() as folder,
        Controller(Path(folder)) as controller,
        network.running(ChainHosts(n=2), controller.openflow_port) as net,
    ):
        client = controller.client
        _set_up(client, net)
        for number in range(FAILURES):
            for place, (kind, failing) in enumerate(WAYS.items()):
                found[kind].append(_failover(client, net, failing, 40_000 + 10 * number + place))
    _print(found)
    return 0


def _set_up(client: RestClient, net: Mininet) -> None:
    """Put two VMs of one host behind a chain of one function with two instances."""
    registration.register_hosts(client, net)
    registration.register_tenant(client, "red", vlan=300)
    registration.register_function(client, net, "filter", *INSTANCES, probe=PROBE)
    registration.register_chain(client, "red", "red", "filter")
    registration.register_vports(client, net, "red", "vm1", "vm2")
    _wait_up(client)


def _instances(client: RestClient) -> dict[str, Any]:
    return dict(client.get("/v1/functions/filter")["live"]["instances"])


def _wait_up(client: RestClient) -> None:
    """Return when both instances have answered since the last failure."""

    def answered() -> bool:
        return all(one["state"] == "up" and one["answered"] for one in _instances(client).values())

    wait_until(answered, 20, "both instances to answer")


def _failover(
    client: RestClient, net: Mininet, failing: Callable[[Mininet, str], AbstractContextManager[None]], sport: int
) -> Failover:
    """Have the instance fail that a connection passes, in the middle of steady traffic."""
    sent, address = 4 * RATE_PPS, address_of("vm2").ipv4
    before = _entered(net)
    with (
        traffic.udp_receiver(net["vm2"], PORT) as arrivals,
        traffic.udp_sender(net["vm1"], address, PORT, count=sent, rate_pps=RATE_PPS, source_port=sport) as sender,
    ):
        arrivals.wait_count(RATE_PPS)
        now = _entered(net)
        used = max(INSTANCES, key=lambda name: now[name] - before[name])
        with failing(net, used):
            sender.wait(30)
            sleep(0.5)  # What is still under way then is late, not measured.
            seen = arrivals.seen()
    _wait_up(client)
    times_ns = [arrival.at_ns for arrival in seen]
    silence_ms = max(after - before_ns for before_ns, after in pairwise(times_ns)) / 1e6
    return Failover(sent, sent - len({arrival.number for arrival in seen}), silence_ms)


def _entered(net: Mininet) -> dict[str, int]:
    """Return how many packets each instance has been given."""
    counts = {}
    for name in INSTANCES:
        path = f"/sys/class/net/{name}-in/statistics/rx_packets"
        counts[name] = int(hosts.run(net[name], "cat", path))
    return counts


def _print(found: Mapping[str, Sequence[Failover]]) -> None:
    rows = [
        (kind, f"{each.sent:,}", f"{each.lost}", f"{each.silence_ms:.0f}")
        for kind, failovers in found.items()
        for each in failovers
    ]
    probe = f"probe every {PROBE['interval_ms']} ms, lost after {PROBE['timeout_ms']} ms, failed after {PROBE['fall']}"
    print(f"an instance fails at {RATE_PPS:,} packets/s of one connection; {probe}")
    print_table(("failure", "sent", "lost", "longest silence ms"), rows)
    medians = {
        kind: {name: median(getattr(each, name) for each in failovers) for name in ("lost", "silence_ms")}
        for kind, failovers in found.items()
    }
    met = max(each.silence_ms for failovers in found.values() for each in failovers) < BAR_MS
    print(f"bar: less than {BAR_MS:,} ms until traffic is on the other instance: {'met' if met else 'NOT met'}")
    print(json.dumps({
        "benchmark": "chain_failover", "bar_ms": BAR_MS, "met": met, "medians": medians, "probe": PROBE,
        "failovers": {kind: [each._asdict() for each in failovers] for kind, failovers in found.items()},
    }))  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())

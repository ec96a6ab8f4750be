"""What chains cost: latency and throughput by number of hops, and the rate at which chained connections are set up.

All run between the same two VMs of one host, in turns: delivered directly (a rule skips the chain), through the
hairpin alone (a chain that fails open and whose only function has no instance), and through one to three hops.
Functions are wires, Linux bridges that do not learn, so what is measured is the way and not their work:
each hop is one more crossing of NIC port 2 and of a bridge.
Prints tables and one JSON line; needs root.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from mininet.net import Mininet

from benchmarks.measurement import print_table
from mininet_scripts.support import hosts, network, traffic
from mininet_scripts.support.controller import Controller
from mininet_scripts.support.policy import group, layer, rule
from mininet_scripts.support.registration import (
    address_of,
    register_chain,
    register_function,
    register_hosts,
    register_tenant,
    register_vports,
)
from mininet_scripts.support.rest import RestClient
from mininet_scripts.support.waiting import wait_until
from topologies.chain_hosts import ChainHosts

TENANT: Final = "blue"
SENDER, RECEIVER = "vm3", "vm4"
FUNCTIONS: Final = ("guard", "shaper", "shared")
SECONDS: Final = 1
PINGS: Final = 100
SMALL_BYTES: Final = 18  # makes the smallest Ethernet frame: 14 + 20 + 8 + 18 bytes
FIRST_PORT: Final = 9000
CONNECTIONS: Final = 1000
AT_ONCE: Final = 16
BAR: Final = 0.7
QUIET_S: Final = 0.5
SETTLE_S: Final = 1.5
ADDRESS: Final = address_of(RECEIVER).ipv4

DIRECT: Final = "direct delivery"
WAYS: Final[Mapping[str, tuple[str, ...] | None]] = {
    DIRECT: None, "hairpin, no hop": ("nobody",),
    **{f"{count} hop{'s' if count > 1 else ''}": FUNCTIONS[:count] for count in (1, 2, 3)},
}  # fmt: skip
CHAINED: Final = "3 hops"


class Round(NamedTuple):
    """One round: median round trip, TCP, and smallest UDP packets received per second."""

    rtt_ms: float
    tcp_bps: float
    udp_pps: float


class SetUp(NamedTuple):
    """One run of many connections: how many a second, and packet-ins for each."""

    per_s: float
    misses_each: float


def main() -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(description="Measure what chains of functions cost.")
    parser.add_argument("--rounds", type=int, default=5, help="of latency and throughput")
    parser.add_argument("--set-ups", type=int, default=9, help="runs of connections for each way")
    options = parser.parse_args()
    try:
        network.check_ready()
    except network.NotReady as reason:
        print(reason, file=sys.stderr)
        return 2
    rounds: dict[str, list[Round]] = {way: [] for way in WAYS}
    set_ups: dict[str, list[SetUp]] = {DIRECT: [], CHAINED: []}
    with (
        tempfile.TemporaryDirectory() as folder,
        Controller(Path(folder), options=_lifted(Path(folder))) as controller,
        network.running(ChainHosts(), controller.openflow_port) as net,
    ):
        client = controller.client
        _set_up(client, net)
        for number in range(options.rounds):
            # Forward, then backward, so that a machine that gets slower is no advantage.
            for way in list(WAYS)[:: -1 if number % 2 else 1]:
                _take(client, way)
                rounds[way].append(_measure(net))
        for number in range(options.set_ups):
            for way in list(set_ups)[:: -1 if number % 2 else 1]:
                _take(client, way)
                # A port of its own: no connection of an earlier run comes back and finds its entries there.
                port = FIRST_PORT + sum(map(len, set_ups.values()))
                set_ups[way].append(_connect_many(client, net, port))
    _print(rounds, set_ups)
    return 0


def _lifted(folder: Path) -> tuple[str, ...]:
    """Return options by which one VM may begin as many connections at once as a host full of them."""
    settings = folder / "ryu.conf"
    settings.write_text(f"[DEFAULT]\nvfswitch_half_open_limit = {2 * CONNECTIONS}\n")
    return ("--config-file", str(settings))


def _set_up(client: RestClient, net: Mininet) -> None:
    """Put two VMs behind a stateful layer that lets all pass, and functions that are wires."""
    register_hosts(client, net)
    register_tenant(client, TENANT, vlan=400)
    for name in FUNCTIONS:
        register_function(client, net, name)
    client.put("/v1/functions/nobody", {})
    register_chain(client, TENANT, TENANT, "nobody", fail="open")
    register_vports(client, net, TENANT, SENDER, RECEIVER, miss_rate_pps=100_000)
    client.put("/v1/layers/measured", layer(outbound="allow", inbound="allow"))


def _take(client: RestClient, way: str) -> None:
    """Have all frames between the VMs take a way from now on; return when the datapath has caught up with it."""
    _choose(client, WAYS[way])
    # Open vSwitch confirms a change before its datapath has forgotten the ways of live flows.
    time.sleep(SETTLE_S)


def _choose(client: RestClient, hops: Sequence[str] | None) -> None:
    if hops is None:
        past = group("outbound", rule("past", {"type": "skip_chain"}))
        client.put("/v1/layers/measured/groups/past", past)
        return
    if client.call("GET", "/v1/layers/measured/groups/past").status == 200:
        client.delete("/v1/layers/measured/groups/past")
    client.put(f"/v1/chains/{TENANT}?force=true", {"tenant": TENANT, "hops": list(hops), "fail": "open"})


def _measure(net: Mininet) -> Round:
    sender, receiver = net[SENDER], net[RECEIVER]
    hosts.ping(sender, ADDRESS, count=10, interval_s=0.01)
    rtts_ms = hosts.ping(sender, ADDRESS, count=PINGS, interval_s=0.005).rtt_ms
    tcp = traffic.iperf3(sender, receiver, ADDRESS, duration_s=SECONDS)
    udp = traffic.iperf3(sender, receiver, ADDRESS, duration_s=SECONDS, udp_kbps=0, payload_bytes=SMALL_BYTES)
    return Round(median(rtts_ms), tcp.bits_per_s, (udp.sent_pkts - udp.lost_pkts) / SECONDS)


def _connect_many(client: RestClient, net: Mininet, port: int) -> SetUp:
    """Return at what rate TCP connections are set up, and how many packet-ins that costs."""
    serve = (*hosts.script("tcp_many.py"), "listen", str(port))
    connect = (*hosts.script("tcp_many.py"), "connect", ADDRESS, str(port), str(CONNECTIONS), str(AT_ONCE))
    with traffic.talking(net[RECEIVER], "ready", *serve):
        before = _quiet_misses(client)
        with traffic.talking(net[SENDER], "begins", *connect) as done:
            said = wait_until(done.output, 120, "all to be set up", until=lambda text: text.count("\n") == 2)
            misses = _quiet_misses(client) - before
            took_s = float(said.split()[-1])
    return SetUp(CONNECTIONS / took_s, misses / CONNECTIONS)


def _quiet_misses(client: RestClient) -> int:
    """Return how many packets the controller was asked about, once that stands still."""
    seen: list[tuple[float, int]] = []

    def quiet() -> bool:
        seen.append((time.monotonic(), int(client.get("/v1/stats")["counts"].get("misses", 0))))
        return any(count == seen[-1][1] and seen[-1][0] - at_s > QUIET_S for at_s, count in seen)

    wait_until(quiet, 30, "no more packet-ins")
    return seen[-1][1]


def _print(rounds: Mapping[str, Sequence[Round]], set_ups: Mapping[str, Sequence[SetUp]]) -> None:
    medians = {way: Round(*(median(column) for column in zip(*found, strict=True))) for way, found in rounds.items()}
    direct = medians[DIRECT]
    rows = [
        (way, f"{each.rtt_ms:.3f}", f"{each.rtt_ms / direct.rtt_ms:.2f}", f"{each.tcp_bps / 1e6:,.0f}",
         f"{each.tcp_bps / direct.tcp_bps:.2f}", f"{each.udp_pps:,.0f}", f"{each.udp_pps / direct.udp_pps:.2f}")
        for way, each in medians.items()
    ]  # fmt: skip
    print(f"{len(rounds[DIRECT])} rounds each in turns, userspace datapath, functions are wires")
    print_table(("two VMs of one host", "round trip ms", "ratio", "TCP Mb/s", "ratio", "small UDP packets/s", "ratio"),
                rows)  # fmt: skip
    hop_us = (medians[CHAINED].rtt_ms - medians["hairpin, no hop"].rtt_ms) * 1000 / 2 / len(FUNCTIONS)
    print(f"each hop adds {hop_us:.0f} µs to a packet each way")
    best = {way: SetUp(*(median(column) for column in zip(*found, strict=True))) for way, found in set_ups.items()}
    print_table(
        (f"{CONNECTIONS:,} TCP connections, {AT_ONCE} at once", "connections/s", "packet-ins each"),
        [(way, f"{each.per_s:,.0f}", f"{each.misses_each:.3f}") for way, each in best.items()],
    )
    ratio = best[CHAINED].per_s / best[DIRECT].per_s
    same = round(best[CHAINED].misses_each, 2) == round(best[DIRECT].misses_each, 2)
    met = ratio >= BAR and same
    print(f"bar: chained at {BAR} of the unchained rate or more, with as many packet-ins: {ratio:.2f}, "
          f"{'met' if met else 'NOT met'}")  # fmt: skip
    print(json.dumps({
        "benchmark": "chains", "hop_us_per_packet": round(hop_us, 1), "bar": BAR, "ratio": round(ratio, 3), "met": met,
        "rounds": {way: [each._asdict() for each in found] for way, found in rounds.items()},
        "set_ups": {way: [each._asdict() for each in found] for way, found in set_ups.items()},
    }))  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())

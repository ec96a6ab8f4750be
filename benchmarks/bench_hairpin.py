"""What the way through a hairpin costs against direct delivery, and what is lost when it breaks and comes back.

Both run between the same two VMs in turns: on a host that fails open, the frames of the same connections are delivered
directly while the cable is unplugged. The function is a Linux bridge, so what is measured is the way, not its work:
VFs' switch, cable, functions' switch, function, and the same back, four crossings of a switch instead of one.
Prints tables and one JSON line; needs root.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import sleep
from typing import Any, NamedTuple

from mininet.net import Mininet

from benchmarks.measurement import print_table
from mininet_scripts.support import functions, hosts, network, traffic
from mininet_scripts.support.controller import Controller
from mininet_scripts.support.policy import group, layer, rule
from mininet_scripts.support.registration import address_of, register_hosts, register_tenant, register_vports
from mininet_scripts.support.rest import RestClient
from mininet_scripts.support.waiting import wait_until
from topologies.hairpin_nic import HairpinNic

ROUNDS = 8
SECONDS = 1
PINGS = 200
SMALL_BYTES = 18  # makes the smallest Ethernet frame: 14 + 20 + 8 + 18 bytes
PORT = 7000
RATE_PPS = 1000
LOST_BAR = 1000  # one second of packets
OUTAGES = 3


class Round(NamedTuple):
    """One round: median round trip, TCP, and smallest UDP packets received per second."""

    rtt_ms: float
    tcp_bps: float
    udp_pps: float


class Outage(NamedTuple):
    """One outage under steady traffic: packets sent and lost, and the longest silence at the receiver."""

    sent: int
    lost: int
    silence_ms: float


def main() -> int:
    """Measure and print; return the exit status."""
    try:
        network.check_ready()
    except network.NotReady as reason:
        print(reason, file=sys.stderr)
        return 2
    rounds: dict[str, list[Round]] = {"hairpin": [], "direct": []}
    with (
        tempfile.TemporaryDirectory() as folder,
        Controller(Path(folder)) as controller,
        network.running(HairpinNic(n=2), controller.openflow_port) as net,
    ):
        client = controller.client
        _set_up(client, net)
        _measure(net)  # warms up caches and clocks
        for number in range(ROUNDS):
            # First one, then the other begins, so that a machine that gets slower is no advantage.
            for kind in ("hairpin", "direct") if number % 2 else ("direct", "hairpin"):
                with _direct(client) if kind == "direct" else _through():
                    rounds[kind].append(_measure(net))
        outages = [_outage(client, net) for _ in range(OUTAGES)]
    _print(rounds, outages)
    return 0


def _set_up(client: RestClient, net: Mininet) -> None:
    """Put two VMs behind a stateful layer on a host that fails open."""
    register_hosts(client, net)
    host = client.get("/v1/hosts/h1")
    client.put("/v1/hosts/h1", {**host, "hairpin": {**host["hairpin"], "fail": "open"}})
    register_tenant(client, "red", vlan=0)
    register_vports(client, net, "red", "vm1", "vm2")
    client.put("/v1/layers/firewall", layer())
    allowed = (rule(proto, ip_proto=proto) for proto in ("tcp", "udp", "icmp"))
    client.put("/v1/layers/firewall/groups/measured", group("inbound", *allowed))


def _measure(net: Mininet) -> Round:
    vm1, vm2, address = net["vm1"], net["vm2"], address_of("vm2").ipv4
    rtts_ms = hosts.ping(vm1, address, count=PINGS, interval_s=0.005).rtt_ms
    tcp = traffic.iperf3(vm1, vm2, address, duration_s=SECONDS)
    udp = traffic.iperf3(vm1, vm2, address, duration_s=SECONDS, udp_kbps=0, payload_bytes=SMALL_BYTES)
    return Round(median(rtts_ms), tcp.bits_per_s, (udp.sent_pkts - udp.lost_pkts) / SECONDS)


@contextmanager
def _direct(client: RestClient) -> Iterator[None]:
    """Have frames delivered without the function while the block runs."""
    with functions.unplugged("h1-cable"):
        _wait_bypassed(client, ["red"])
        yield
    _wait_bypassed(client, [])


@contextmanager
def _through() -> Iterator[None]:
    yield


def _wait_bypassed(client: RestClient, segments: list[str]) -> None:
    def told() -> Any:
        return client.get("/v1/hosts/h1")["live"]["hairpin"]["bypassed_segments"]

    wait_until(told, 5, f"{segments} to be bypassed", until=lambda seen: seen == segments)


def _outage(client: RestClient, net: Mininet) -> Outage:
    """Unplug the cable in the middle of steady traffic, and plug it in again."""
    count = 4 * RATE_PPS
    address = address_of("vm2").ipv4
    with (
        traffic.udp_receiver(net["vm2"], PORT) as arrivals,
        traffic.udp_sender(net["vm1"], address, PORT, count=count, rate_pps=RATE_PPS, source_port=40_000) as sender,
    ):
        arrivals.wait_count(RATE_PPS)
        with functions.unplugged("h1-cable"):
            _wait_bypassed(client, ["red"])
            arrivals.wait_count(2 * RATE_PPS, timeout_s=10)
        sender.wait(30)
        sleep(0.5)  # What is still under way then is late, not measured.
        seen = arrivals.seen()
    times_ns = [arrival.at_ns for arrival in seen]
    silence_ms = max(after - before for before, after in pairwise(times_ns)) / 1e6
    return Outage(count, count - len({arrival.number for arrival in seen}), silence_ms)


def _print(rounds: Mapping[str, list[Round]], outages: list[Outage]) -> None:
    medians = {
        kind: Round(*(median(column) for column in zip(*measured, strict=True))) for kind, measured in rounds.items()
    }
    through, direct = medians["hairpin"], medians["direct"]
    added_us = (through.rtt_ms - direct.rtt_ms) * 1000 / 2
    rows = [
        (name, f"{each.rtt_ms:.3f}", f"{each.tcp_bps / 1e6:,.0f}", f"{each.udp_pps:,.0f}")
        for name, each in (("through the hairpin", through), ("direct delivery", direct))
    ]
    ratio = Round(*(one / other for one, other in zip(through, direct, strict=True)))
    rows.append(("ratio of medians", f"{ratio.rtt_ms:.2f}", f"{ratio.tcp_bps:.2f}", f"{ratio.udp_pps:.2f}"))
    print(f"{ROUNDS} rounds each in turns, userspace datapath, the function is a Linux bridge")
    print_table(("two VMs of one host", "round trip ms", "TCP Mb/s", "small UDP packets/s"), rows)
    print(f"the hairpin adds {added_us:.0f} µs to a packet each way")
    lost = [(f"{number}", f"{each.sent:,}", f"{each.lost}", f"{each.silence_ms:.0f}")
            for number, each in enumerate(outages, start=1)]  # fmt: skip
    print(f"cable unplugged and plugged in again at {RATE_PPS:,} packets/s, host fails open")
    print_table(("outage", "sent", "lost", "longest silence ms"), lost)
    met = max(each.lost for each in outages) <= LOST_BAR
    print(f"bar: at most {LOST_BAR:,} packets lost: {'met' if met else 'NOT met'}")
    print(json.dumps({
        "benchmark": "hairpin", "added_us_per_packet": round(added_us, 1), "rtt_ratio": round(ratio.rtt_ms, 3),
        "tcp_ratio": round(ratio.tcp_bps, 3), "udp_ratio": round(ratio.udp_pps, 3), "bar": LOST_BAR, "met": met,
        "outages": [each._asdict() for each in outages],
        "rounds": {kind: [each._asdict() for each in measured] for kind, measured in rounds.items()},
    }))  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())

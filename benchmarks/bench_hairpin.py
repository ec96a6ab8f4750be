"""What the ways to a function and back cost against direct delivery, and what is lost when one breaks and comes back.

There are two: a hairpin by a cable, and MAC steering without one; one NIC has what both need, and takes them in turns.
Direct delivery is between the same two VMs: on a host that fails open, the frames of the same connections are
delivered directly while the cable, or the function's side of all sub-interfaces, is unplugged.
The functions are Linux bridges, so what is measured is the way, not their work.
By the cable that is VFs' switch, cable, functions' switch, function, and the same back: four crossings of a switch
instead of one. Without it the VFs' switch is crossed twice.
Prints tables and one JSON line; needs root.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
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
from topologies.hairpin_parts import FIRST_SUB_INTERFACE, BridgeFunction

ROUNDS = 6
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


class BothWays(HairpinNic):
    """The NIC of three ports with fn1 behind the cable; and fn2 at sub-interfaces h1-sub1, … beside the VFs."""

    def build(self, n: int = 2, **_opts: Any) -> None:
        """Add the nodes and links for `n` VMs."""
        super().build(n=n)
        function = self.addHost("fn2", cls=BridgeFunction, ip=None)
        for vf in range(1, n + 1):
            names = {"intfName1": f"fn2-vf{vf}", "intfName2": f"h1-sub{vf}"}
            self.addLink(function, "h1", port2=FIRST_SUB_INTERFACE + vf, **names)


class Way(NamedTuple):
    """One way to functions: what a hairpin says of it, where VF 1, 2, … have sub-interfaces, and what to unplug.

    Of what to unplug the first of each pair is a host, None for the NIC.
    """

    hairpin: Mapping[str, object]
    subinterface: str
    plugs: tuple[tuple[str | None, str], ...]


WAYS: Mapping[str, Way] = {
    "hairpin": Way(
        {"cable": "h1-cable", "function_port": {"dpid": "101", "cable": "h1f-cable"}}, "h1f-vf{}", ((None, "h1-cable"),)
    ),
    "MAC steering": Way({"steering": "mac"}, "h1-sub{}", (("fn2", "fn2-vf1"), ("fn2", "fn2-vf2"))),
}
DIRECT = "direct"


def main() -> int:
    """Measure and print; return the exit status."""
    try:
        network.check_ready()
    except network.NotReady as reason:
        print(reason, file=sys.stderr)
        return 2
    kinds = (DIRECT, *WAYS)
    rounds: dict[str, list[Round]] = {kind: [] for kind in kinds}
    outages: dict[str, list[Outage]] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        Controller(Path(folder)) as controller,
        network.running(BothWays(n=2), controller.openflow_port) as net,
    ):
        client = controller.client
        _set_up(client, net)
        _measure(net)  # warms up caches and clocks
        for number in range(ROUNDS):
            # Each begins as often as the others, so that a machine that gets slower is nobody's advantage.
            for kind in (*kinds[number % len(kinds) :], *kinds[: number % len(kinds)]):
                with _direct(client, net, WAYS["hairpin"]) if kind == DIRECT else _by(client, WAYS[kind]):
                    rounds[kind].append(_measure(net))
        for name, way in WAYS.items():
            with _by(client, way):
                outages[name] = [_outage(client, net, way) for _ in range(OUTAGES)]
    _print(rounds, outages)
    return 0


def _set_up(client: RestClient, net: Mininet) -> None:
    """Put two VMs behind a stateful layer on a host that fails open."""
    register_hosts(client, net)
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
def _by(client: RestClient, way: Way) -> Iterator[None]:
    """Have frames go by one way to its function while the block runs."""
    host = client.get("/v1/hosts/h1")
    network_port = host["hairpin"]["network_port"]
    client.put("/v1/hosts/h1", {**host, "hairpin": {**way.hairpin, "network_port": network_port, "fail": "open"}})
    for number in (1, 2):
        vport = client.get(f"/v1/vports/vm{number}")
        client.put(f"/v1/vports/vm{number}", {**vport, "subinterface": way.subinterface.format(number)})
    _wait_bypassed(client, [])
    yield


@contextmanager
def _direct(client: RestClient, net: Mininet, way: Way) -> Iterator[None]:
    """Have frames delivered without a function while the block runs."""
    with _by(client, way), _unplugged(client, net, way):
        yield


@contextmanager
def _unplugged(client: RestClient, net: Mininet, way: Way) -> Iterator[None]:
    with ExitStack() as stack:
        for host, interface in way.plugs:
            stack.enter_context(functions.unplugged(interface, None if host is None else net[host]))
        _wait_bypassed(client, ["red"])
        yield
    _wait_bypassed(client, [])


def _wait_bypassed(client: RestClient, segments: list[str]) -> None:
    def told() -> Any:
        return client.get("/v1/hosts/h1")["live"]["hairpin"]["bypassed_segments"]

    wait_until(told, 5, f"{segments} to be bypassed", until=lambda seen: seen == segments)


def _outage(client: RestClient, net: Mininet, way: Way) -> Outage:
    """Unplug the way in the middle of steady traffic, and plug it in again."""
    count = 4 * RATE_PPS
    address = address_of("vm2").ipv4
    with (
        traffic.udp_receiver(net["vm2"], PORT) as arrivals,
        traffic.udp_sender(net["vm1"], address, PORT, count=count, rate_pps=RATE_PPS, source_port=40_000) as sender,
    ):
        arrivals.wait_count(RATE_PPS)
        with _unplugged(client, net, way):
            arrivals.wait_count(2 * RATE_PPS, timeout_s=10)
        sender.wait(30)
        sleep(0.5)  # What is still under way then is late, not measured.
        seen = arrivals.seen()
    times_ns = [arrival.at_ns for arrival in seen]
    silence_ms = max(after - before for before, after in pairwise(times_ns)) / 1e6
    return Outage(count, count - len({arrival.number for arrival in seen}), silence_ms)


def _medians(rounds: Sequence[Round]) -> Round:
    return Round(*(median(column) for column in zip(*rounds, strict=True)))


def _print(rounds: Mapping[str, Sequence[Round]], outages: Mapping[str, Sequence[Outage]]) -> None:
    medians = {kind: _medians(measured) for kind, measured in rounds.items()}
    direct = medians[DIRECT]
    rows: list[tuple[str, ...]] = []
    costs: dict[str, dict[str, float]] = {}
    for kind, each in medians.items():
        ratio = Round(*(one / other for one, other in zip(each, direct, strict=True)))
        added_us = (each.rtt_ms - direct.rtt_ms) * 1000 / 2
        numbers = (f"{each.rtt_ms:.3f}", f"{each.tcp_bps / 1e6:,.0f}", f"{each.udp_pps:,.0f}")
        ratios = (f"{ratio.rtt_ms:.2f} / {ratio.tcp_bps:.2f} / {ratio.udp_pps:.2f}", f"{added_us:.0f}")
        rows.append((kind, *numbers, *(("", "") if kind == DIRECT else ratios)))
        costs[kind] = {
            "added_us_per_packet": round(added_us, 1), "rtt_ratio": round(ratio.rtt_ms, 3),
            "tcp_ratio": round(ratio.tcp_bps, 3), "udp_ratio": round(ratio.udp_pps, 3),
        }  # fmt: skip
    print(f"{ROUNDS} rounds each in turns, medians, userspace datapath, the functions are Linux bridges")
    heads = ("between two VMs", "round trip ms", "TCP Mb/s", "small UDP packets/s", "of direct", "added µs each way")
    print_table(heads, rows)
    lost = [
        (kind, f"{each.sent:,}", f"{each.lost}", f"{each.silence_ms:.0f}")
        for kind, measured in outages.items()
        for each in measured
    ]
    print(f"way unplugged and plugged in again at {RATE_PPS:,} packets/s, host fails open")
    print_table(("outage", "sent", "lost", "longest silence ms"), lost)
    met = max(each.lost for measured in outages.values() for each in measured) <= LOST_BAR
    print(f"bar: at most {LOST_BAR:,} packets lost: {'met' if met else 'NOT met'}")
    print(json.dumps({
        "benchmark": "hairpin", "costs": costs, "bar": LOST_BAR, "met": met,
        "outages": {kind: [each._asdict() for each in measured] for kind, measured in outages.items()},
        "rounds": {kind: [each._asdict() for each in measured] for kind, measured in rounds.items()},
    }))  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())

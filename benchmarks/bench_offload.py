"""What an offloaded flow carries through our pipeline, against one plain output entry per direction.

Both run on one switch, between the same two VMs and in turns: the plain entries are put before the pipeline for a
round and taken away again, so that bridge, ports, load and machine are the same.
Prints a table and one JSON line; needs root.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

from mininet.net import Mininet

from benchmarks.measurement import print_table
from mininet_scripts.support import network, traffic
from mininet_scripts.support.controller import Controller
from mininet_scripts.support.policy import group, layer, rule
from mininet_scripts.support.registration import address_of, register_hosts, register_tenant, register_vports
from mininet_scripts.support.rest import RestClient
from topologies.single_host import SingleHost

BAR = 0.95
ROUNDS = 16
SECONDS = 1
SMALL_BYTES = 18  # makes the smallest Ethernet frame: 14 + 20 + 8 + 18 bytes
LAYERS = 3
PLAIN = ("priority=65535,in_port=1,actions=output:2", "priority=65535,in_port=2,actions=output:1")


class Round(NamedTuple):
    """What one round carried: TCP in bits per second, and smallest UDP packets received per second."""

    tcp_bps: float
    udp_pps: float


def main() -> int:
    """Measure and print; return the exit status."""
    try:
        network.check_ready()
    except network.NotReady as reason:
        print(reason, file=sys.stderr)
        return 2
    rounds: dict[str, list[Round]] = {"pipeline": [], "plain": []}
    with (
        tempfile.TemporaryDirectory() as folder,
        Controller(Path(folder)) as controller,
        network.running(SingleHost(n=2), controller.openflow_port) as net,
    ):
        _set_up(controller.client, net)
        _measure(net)  # warms up caches and clocks
        before = _packet_ins(controller.client)
        for number in range(ROUNDS):
            # First one, then the other begins, so that a machine that gets slower is no advantage.
            for kind in ("pipeline", "plain") if number % 2 else ("plain", "pipeline"):
                with _plain_entries(net) if kind == "plain" else _pipeline():
                    rounds[kind].append(_measure(net))
        asked = _packet_ins(controller.client) - before
    _print(rounds, asked)
    return 0


def _set_up(client: RestClient, net: Mininet) -> None:
    """Put two VMs behind three layers that allow what is measured."""
    register_hosts(client, net)
    register_tenant(client, "red", vlan=0)
    register_vports(client, net, "red", "vm1", "vm2")
    for number in range(LAYERS):
        name = f"layer{number}"
        client.put(f"/v1/layers/{name}", layer(position=10 * number))
        allowed = (rule("tcp", ip_proto="tcp"), rule("udp", ip_proto="udp"))
        client.put(f"/v1/layers/{name}/groups/measured", group("inbound", *allowed))


def _measure(net: Mininet) -> Round:
    vm1, vm2, address = net["vm1"], net["vm2"], address_of("vm2").ipv4
    tcp = traffic.iperf3(vm1, vm2, address, duration_s=SECONDS)
    udp = traffic.iperf3(vm1, vm2, address, duration_s=SECONDS, udp_kbps=0, payload_bytes=SMALL_BYTES)
    return Round(tcp.bits_per_s, (udp.sent_pkts - udp.lost_pkts) / SECONDS)


@contextmanager
def _plain_entries(net: Mininet) -> Iterator[None]:
    """Put one plain output entry per direction before the pipeline while the block runs."""
    for flow in PLAIN:
        net["h1"].dpctl("add-flow", flow)
    try:
        yield
    finally:
        for flow in PLAIN:
            net["h1"].dpctl("--strict del-flows", flow.rpartition(",actions")[0])


@contextmanager
def _pipeline() -> Iterator[None]:
    yield


def _packet_ins(client: RestClient) -> int:
    return int(client.get("/v1/stats")["counts"].get("misses", 0))


def _print(rounds: dict[str, list[Round]], asked: int) -> None:
    medians = {kind: Round(*(median(column) for column in zip(*measured, strict=True)))
               for kind, measured in rounds.items()}  # fmt: skip
    # Of neighbours in time: what else the machine does weighs on both.
    pairs = list(zip(rounds["pipeline"], rounds["plain"], strict=True))
    ratio = Round(median(a.tcp_bps / b.tcp_bps for a, b in pairs), median(a.udp_pps / b.udp_pps for a, b in pairs))
    rows = [
        (f"our pipeline, {LAYERS} layers at both VMs", f"{medians['pipeline'].tcp_bps / 1e6:,.0f}",
         f"{medians['pipeline'].udp_pps:,.0f}"),
        ("one plain output entry", f"{medians['plain'].tcp_bps / 1e6:,.0f}", f"{medians['plain'].udp_pps:,.0f}"),
        ("ratio, median of rounds", f"{ratio.tcp_bps:.3f}", f"{ratio.udp_pps:.3f}"),
    ]  # fmt: skip
    print(f"{ROUNDS} rounds each in turns of {SECONDS} s, userspace datapath, {asked} packet-ins in all")
    print_table(("offloaded flow", "TCP Mb/s", "small UDP packets/s"), rows)
    met = min(ratio) >= BAR
    print(f"bar: both ratios at least {BAR}: {'met' if met else 'NOT met'}")
    figures = {
        "benchmark": "offload",
        "tcp_ratio": round(ratio.tcp_bps, 3),
        "udp_ratio": round(ratio.udp_pps, 3),
        "bar": BAR,
        "met": met,
        "packet_ins": asked,
        "rounds": {
            kind: [{"tcp_bps": round(each.tcp_bps), "udp_pps": round(each.udp_pps)} for each in measured]
            for kind, measured in rounds.items()
        },
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    sys.exit(main())

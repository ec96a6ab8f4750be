"""How long a packet takes from VM to VM: by a plain entry, by cached entries, and as the first of its connection.

A real Open vSwitch and the controller, a core each; one packet is under way at a time.
It is timed from before the system call that sends it until it is read at the other VM's device.
Then connections of some packets each, back and forth, show which share of look-ups hit and what the NIC decided alone.
Prints a table and one JSON line; needs root and Open vSwitch, whose daemons it starts for itself.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from benchmarks.bench_connections import CLIENT_MAC, SERVER_MAC, VMS
from benchmarks.measurement import print_table
from benchmarks.packet_source import FRAME_BYTES, Source, Step, own_network
from benchmarks.switch_site import LAYERS, Site, site

HITS: Final = 3000
FIRST: Final = 1000
CONNECTIONS: Final = 1000
PACKETS: Final = (5, 20, 100)
# A plain entry at the head of the pipeline: what the switch itself costs.
PLAIN: Final = "priority=65535,in_port=1"
_TIMEOUT_S: Final = 2.0
_PACE_S: Final = 0.0005
_COUNTED_S: Final = 2.0
_FORTH, _BACK = Step(True, None), Step(False, None)


class Wire:
    """Sends packets of numbered connections from one VM and waits for them at the other."""

    def __init__(self, running: Site) -> None:
        self._source = Source(running.devices[0], _FORTH, CLIENT_MAC, SERVER_MAC)
        self._device = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
        self._device.bind((running.devices[1], 0))
        self._poll = select.poll()
        self._poll.register(self._device, select.POLLIN)

    def cross(self, connection: int) -> float:
        """Return the microseconds that the next packet of a connection took."""
        started_s = time.perf_counter()
        self._source.send(connection, 1)
        if not self._poll.poll(_TIMEOUT_S * 1000):
            raise TimeoutError(f"a packet of connection {connection} did not arrive within {_TIMEOUT_S} s")
        self._device.recv(FRAME_BYTES)
        return (time.perf_counter() - started_s) * 1e6

    def close(self) -> None:
        """Give the sockets back."""
        self._source.close()
        self._device.close()


def latencies(cross: Callable[[int], float], connections: Sequence[int]) -> list[float]:
    """Return the microseconds of one packet after the other, in ascending order."""
    found = []
    for connection in connections:
        found.append(cross(connection))
        time.sleep(_PACE_S)
    return sorted(found)


@contextmanager
def plain_entry(running: Site) -> Iterator[None]:
    """Have all packets of the first VM forwarded by one entry, before the pipeline."""
    running.ovs.ofctl("add-flow", "nic", f"{PLAIN},actions=output:2")
    try:
        yield
    finally:
        running.ovs.ofctl("del-flows", "nic", PLAIN, options=["--strict"])


def shares(running: Site, first: int, packets: int) -> dict[str, float]:
    """Return the shares for connections of so many packets, half of them replies."""
    before = _settled(running)
    sources = [Source(device, step, CLIENT_MAC, SERVER_MAC)
               for device, step in ((running.devices[0], _FORTH), (running.devices[1], _BACK))]  # fmt: skip
    for start in range(first, first + CONNECTIONS, 50):
        for number in range(packets):
            sources[number % 2].send(start, 50)
            time.sleep(0.02 if number < 2 else 0.002)
    for source in sources:
        source.close()
    hits, misses, asked = (now - then for now, then in zip(_settled(running), before, strict=True))
    return {
        "hit_ratio": hits / (hits + misses),
        "packet_ins_per_connection": asked / CONNECTIONS,
        "by_switch_alone": 1 - asked / (CONNECTIONS * packets),
    }


def _settled(running: Site) -> tuple[int, int, int]:
    """Return what is counted when the switch has counted all: its datapath tells it of packets now and then."""
    before = (-1, -1, -1)
    while (now := _counts(running)) != before:
        before = now
        time.sleep(_COUNTED_S)
    return now


def _counts(running: Site) -> tuple[int, int, int]:
    """Return the hits and misses of all caches as the switch counts them, and the packets that the controller got."""
    told: dict[str, Any] = running.controller.client.get("/v1/stats")
    caches = [cache for vport in told["vports"].values() for cache in vport["caches"].values()]
    asked = int(told["counts"]["misses"])
    return sum(cache["hits"] for cache in caches), sum(cache["misses"] for cache in caches), asked


def measure(options: argparse.Namespace) -> tuple[dict[str, list[float]], dict[int, dict[str, float]]]:
    """Return the latencies by what the packets met, and the shares by packets of a connection."""
    with site([], VMS, miss_rate_pps=None) as running:
        wire = Wire(running)
        with plain_entry(running):
            latencies(wire.cross, [0] * 200)
            found = {"one plain entry": latencies(wire.cross, [0] * options.hits)}
        latencies(wire.cross, [1] * 200)
        found[f"cached entries, {LAYERS} layers at both VMs"] = latencies(wire.cross, [1] * options.hits)
        found["first packet of its connection"] = latencies(wire.cross, range(1000, 1000 + options.first))
        wire.close()
        return found, {packets: shares(running, 100_000 * packets, packets) for packets in PACKETS}


def _at(found: Sequence[float], share: float) -> float:
    return found[min(len(found) - 1, int(share * len(found)))]


def main() -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(description="Find how long packets take that hit, and that miss.")
    parser.add_argument("--hits", type=int, default=HITS)
    parser.add_argument("--first", type=int, default=FIRST)
    options = parser.parse_args()
    if os.geteuid():
        print("needs root", file=sys.stderr)
        return 2
    own_network()
    found, shared = measure(options)
    rows = [(name, str(len(each)), *(f"{_at(each, share):,.0f}" for share in (0.5, 0.99)))
            for name, each in found.items()]  # fmt: skip
    print_table(("from VM to VM", "packets", "p50 µs", "p99 µs"), rows)
    ratios = [(f"{packets} packets, half of them replies", *(f"{value:.4f}" for value in each.values()))
              for packets, each in shared.items()]  # fmt: skip
    headings = (f"{CONNECTIONS:,} connections of", "hit ratio", "packet-ins each", "packets by the switch alone")
    print_table(headings, ratios)
    figures = {name: {"p50_us": _at(each, 0.5), "p99_us": _at(each, 0.99)} for name, each in found.items()}
    print(json.dumps({"benchmark": "hit_latency", "latencies": figures, "shares": shared}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

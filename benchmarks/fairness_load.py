"""The load generator as a switch whose VM floods the controller with misses, while another VM has one now and then."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from benchmarks import openflow
from benchmarks.fake_switch import Disconnected, FakeSwitch
from benchmarks.frames import ConnectionRing
from benchmarks.openflow import Port, Type
from benchmarks.peers import Peer, Running
from benchmarks.undisturbed import without_collector

# Few at once, so that a miss of the quiet VM does not wait behind many on its way out.
_MOST_AT_ONCE: Final = 64
_LOST_AFTER_S: Final = 2.0
_PROBE_EVERY_S: Final = 0.005
_WARM_UP_S: Final = 0.3
_IN_PORT_AT: Final = 12


class ProbedSwitch(FakeSwitch):
    """A switch that also counts, as `probed`, the packet-outs for packets of one port."""

    def __init__(self, version: int, dpid: int, ports: Sequence[Port]) -> None:
        super().__init__(version, dpid, ports)
        self.probed = 0
        self.probed_port = b""

    def _scan(self, end: int) -> None:
        """Look at the packet-outs among all whole messages, then walk them as any switch does."""
        buffer, unpack = self._buffer, openflow.HEADER.unpack_from
        packet_out, wanted = int(Type.PACKET_OUT), self.probed_port
        at = 0
        while at + 8 <= end:
            _, kind, length, _ = unpack(buffer, at)
            if length < 8:
                raise Disconnected(f"the controller sent a message of {length} bytes")
            if at + length > end:
                break
            if kind == packet_out and buffer[at + _IN_PORT_AT : at + _IN_PORT_AT + 4] == wanted:
                self.probed += 1
            at += length
        super()._scan(end)


def first_packets(
    switch: ProbedSwitch, flood: ConnectionRing, quiet: ConnectionRing, *, rate: float, duration_s: float
) -> tuple[list[float], int, int]:
    """Return the latencies of the quiet VM's misses in microseconds, how many were lost, and the flood sent.

    A miss that is not answered in 2 s is lost.
    """
    clock = time.perf_counter
    latencies_us: list[float] = []
    asked_s, sent, lost = 0.0, 0, 0
    with without_collector():
        started_s = clock()
        due_s = started_s + _PROBE_EVERY_S
        while (now_s := clock()) < started_s + duration_s or asked_s:
            due = min(int(min(now_s - started_s, duration_s) * rate), sent + _MOST_AT_ONCE)
            if due > sent:
                switch.send(flood.take(due - sent))
                sent = due
            if not asked_s and due_s <= now_s < started_s + duration_s:
                before, asked_s = switch.probed, clock()
                switch.send(bytes(quiet.take(1)))
            switch.pump(0)
            if asked_s and switch.probed > before:
                latencies_us.append((clock() - asked_s) * 1e6)
                asked_s, due_s = 0.0, clock() + _PROBE_EVERY_S
            elif asked_s and clock() - asked_s > _LOST_AFTER_S:
                lost += 1
                asked_s, due_s = 0.0, clock() + _PROBE_EVERY_S
    return latencies_us, lost, sent


def measure(
    peer: Peer, controller: Running, *, rate: float, duration_s: float
) -> tuple[dict[str, tuple[list[float], int]], int]:
    """Return latencies and losses, quiet and under a flood, and how many misses of the flood were sent."""
    switch = ProbedSwitch(peer.version, 1, peer.ports)
    switch.connect("127.0.0.1", controller.place.of_port)
    templates = peer.prepare(switch, controller.place)
    switch.record = False
    flooder, quiet = templates[:2]
    switch.probed_port = quiet.in_port.to_bytes(4, "big")
    rings = ConnectionRing(peer.version, [flooder]), ConnectionRing(peer.version, [quiet])
    first_packets(switch, *rings, rate=rate / 10, duration_s=_WARM_UP_S)
    found = {}
    latencies_us, lost, _ = first_packets(switch, *rings, rate=0, duration_s=duration_s)
    found["quiet"] = latencies_us, lost
    latencies_us, lost, sent = first_packets(switch, *rings, rate=rate, duration_s=duration_s)
    found["flood"] = latencies_us, lost
    switch.close()
    return found, sent

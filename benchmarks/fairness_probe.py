"""First packets of a quiet VM through a real switch, with the kernel's times, and the flood of another VM."""

from __future__ import annotations

import multiprocessing
import os
import random
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.frames import mac
from benchmarks.packet_source import Source, Step, taken
from benchmarks.switch_site import CONTROLLER_CORE, mac_of

FLOODER, FLOODED, QUIET, ASKED = range(4)
_UDP: Final = Step(True, None)
_FIRST_FLOODED: Final = 1_000_000
_PROBE_EVERY_S: Final = 0.005
_LATE_S: Final = 1.0
_STAMPED_AFTER_S: Final = 0.1
_TICK_S: Final = 0.001
_MOST_AT_ONCE_PKTS: Final = 1000
# asm-generic/socket.h: times of arrival in nanoseconds, and a receive buffer beyond the usual limit.
_TIMESTAMPNS, _RCVBUFFORCE = 35, 33
_ALL_PROTOCOLS: Final = 3
_SPORTS, _FIRST_SPORT = 60_000, 1024


def first_packets(devices: tuple[str, ...], first: int, count: int) -> list[float]:
    """Return the latencies of first packets of new connections in microseconds, from sending to the receiver's device.

    They are numbered from `first` on, each a connection of its own; those that have not come a second later are lost.
    """
    receiver = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_PROTOCOLS))
    receiver.bind((devices[ASKED], 0))
    receiver.setsockopt(socket.SOL_SOCKET, _TIMESTAMPNS, 1)
    receiver.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, 1 << 24)
    receiver.setblocking(False)
    # The kernel begins to note times a little later; what has none would get that of its being read.
    time.sleep(_STAMPED_AFTER_S)
    source = Source(devices[QUIET], _UDP, mac_of(QUIET), mac_of(ASKED))
    sent_ns = {}
    for number in range(first, first + count):
        time.sleep(_PROBE_EVERY_S * (0.5 + random.random()))
        sent_ns[number] = time.time_ns()
        source.send(number, 1)
    time.sleep(_LATE_S)
    arrived = dict(reversed(list(_arrived(receiver))))
    receiver.close()
    source.close()
    return [(arrived[number] - at_ns) / 1000 for number, at_ns in sent_ns.items() if number in arrived]


def _arrived(receiver: socket.socket) -> Iterator[tuple[int, int]]:
    """Yield the number of each packet that was received, and when, in nanoseconds of the system's clock."""
    to_asked = mac(mac_of(ASKED))
    while True:
        try:
            data, details, _, _ = receiver.recvmsg(256, 64)
        except BlockingIOError:
            return
        if data[:6] == to_asked and data[12:14] == b"\x08\x00":
            times = [struct.unpack_from("ll", content) for _, kind, content in details if kind == _TIMESTAMPNS]
            high, sport = int.from_bytes(data[28:30], "big"), int.from_bytes(data[34:36], "big")
            yield high * _SPORTS + sport - _FIRST_SPORT, times[0][0] * 1_000_000_000 + times[0][1]


@dataclass(slots=True)
class Flood:
    """How many packets a second a VM has sent, and how many of them the switch has taken from its device."""

    offered_per_s: float = 0.0
    taken_per_s: float = 0.0


@contextmanager
def flooding(devices: tuple[str, ...], rate: float) -> Iterator[Flood]:
    """Have a VM send first packets at a rate; what became of them stands in the value afterwards."""
    flood, stop, sent = Flood(), multiprocessing.Event(), multiprocessing.Value("q", 0)
    process = multiprocessing.Process(target=_flood, args=(devices, rate, stop, sent))
    before, started_s = taken(devices[FLOODER]), time.monotonic()
    process.start()
    try:
        yield flood
    finally:
        stop.set()
        process.join()
        took_s = time.monotonic() - started_s
        flood.offered_per_s = sent.value / took_s
        flood.taken_per_s = (taken(devices[FLOODER]) - before) / took_s


def _flood(devices: tuple[str, ...], rate: float, stop: Any, sent: Any) -> None:
    """Send until told to stop; what the device does not take is lost in it.

    It has of the controller's core what that leaves, so that it slows the switch down by its packets alone.
    """
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    if CONTROLLER_CORE in os.sched_getaffinity(0):
        os.sched_setaffinity(0, {CONTROLLER_CORE})
    source = Source(devices[FLOODER], _UDP, mac_of(FLOODER), mac_of(FLOODED))
    source.allow_unsent(1 << 26)
    started_s, number = time.monotonic(), 0
    while not stop.is_set():
        due = min(int((time.monotonic() - started_s) * rate), number + _MOST_AT_ONCE_PKTS)
        source.send(_FIRST_FLOODED + number, due - number)
        number = due
        time.sleep(_TICK_S)
    sent.value = number

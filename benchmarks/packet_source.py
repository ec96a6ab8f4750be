"""Frames of many connections at once, sent by one system call a batch: what a generator of load needs to be light."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from benchmarks.frames import ipv4, mac

FRAME_BYTES: Final = 60
_BATCH: Final = 1024
# So many come to a full device in the 80 microseconds until it may have room again, at 100,000 a second.
_LOST_AT_ONCE_PKTS: Final = 8
_IP_SRC, _IP_DST, _SPORT, _DPORT = 26, 30, 34, 36
_FIRST_SPORT: Final = 1024
_SPORTS: Final = 60_000
# For so many connections what sets them apart is worked out at once.
_ENDS: Final = 1 << 16
SERVER_PORT: Final = 80

SYN, SYN_ACK, ACK, FIN_ACK = 0x02, 0x12, 0x10, 0x11
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
# What /proc/net/dev counts of a device, by column: received by it is what a switch gave, sent what a switch took.
_GIVEN, _TAKEN = 1, 9
# asm-generic/socket.h: a send buffer beyond the usual limit.
_SNDBUFFORCE: Final = 32
_CLONE_NEWNET: Final = 0x40000000


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


class _Header(ctypes.Structure):
    # struct mmsghdr of sendmmsg(2): struct msghdr, and how many bytes went.
    _fields_ = (
        ("name", ctypes.c_void_p), ("name_size", ctypes.c_uint32), ("vectors", ctypes.c_void_p),
        ("vector_count", ctypes.c_size_t), ("control", ctypes.c_void_p), ("control_size", ctypes.c_size_t),
        ("flags", ctypes.c_int), ("sent_bytes", ctypes.c_uint),
    )  # fmt: skip


class Step(NamedTuple):
    """One packet of every connection: whether the client sends it, and its TCP flags; None for UDP."""

    from_client: bool
    flags: int | None


def frame(step: Step, client_mac: str, server_mac: str) -> bytes:
    """Return the frame of a step for connection 0; checksums are left 0, which no switch looks at."""
    src_mac, dst_mac = (client_mac, server_mac) if step.from_client else (server_mac, client_mac)
    proto = 17 if step.flags is None else 6
    ends = ipv4("10.1.0.0") + ipv4("10.2.0.1") if step.from_client else ipv4("10.2.0.1") + ipv4("10.1.0.0")
    ip = struct.pack("!BBHHHBBH", 0x45, 0, FRAME_BYTES - 14, 0, 0x4000, 64, proto, 0) + ends
    ports = (_FIRST_SPORT, SERVER_PORT) if step.from_client else (SERVER_PORT, _FIRST_SPORT)
    if step.flags is None:
        l4 = struct.pack("!HHHH", *ports, FRAME_BYTES - 34, 0)
    else:
        l4 = struct.pack("!HHIIBBHHH", *ports, 1, 1, 0x50, step.flags, 64240, 0, 0)
    return (mac(dst_mac) + mac(src_mac) + b"\x08\x00" + ip + l4).ljust(FRAME_BYTES, b"\0")


class Source:
    """Sends one step of any connections out of a network device, numbered from 0."""

    def __init__(self, device: str, step: Step, client_mac: str, server_mac: str) -> None:
        self._device = device
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.bind((device, 0))
        self._frames: Any = np.tile(np.frombuffer(frame(step, client_mac, server_mac), dtype="u1"), (_BATCH, 1)).copy()
        client_ip, client_port = (_IP_SRC, _SPORT) if step.from_client else (_IP_DST, _DPORT)
        self._client_ips = self._frames[:, client_ip + 2 : client_ip + 4]
        self._client_ports = self._frames[:, client_port : client_port + 2]
        start = self._frames.ctypes.data
        self._vectors = (_Vector * _BATCH)(*(_Vector(start + n * FRAME_BYTES, FRAME_BYTES) for n in range(_BATCH)))
        vectors, size = ctypes.addressof(self._vectors), ctypes.sizeof(_Vector)
        self._headers = (_Header * _BATCH)(*(_Header(None, 0, vectors + n * size, 1) for n in range(_BATCH)))

    def send(self, first: int, count: int) -> None:
        """Send the step of `count` connections from number `first` on; a device that is full loses the next few."""
        while count > 0:
            part, at = divmod(first, _ENDS)
            batch = min(count, _BATCH, _ENDS - at)
            ends = _ends(part)[at : at + batch]
            self._client_ips[:batch] = ends[:, :2]
            self._client_ports[:batch] = ends[:, 2:]
            self._send_batch(batch)
            first, count = first + batch, count - batch

    def _send_batch(self, batch: int) -> None:
        size, done = ctypes.sizeof(_Header), 0
        while done < batch:
            headers = ctypes.byref(self._headers, done * size)
            sent = _LIBC.sendmmsg(self._socket.fileno(), headers, batch - done, 0)
            if sent < 0 and ctypes.get_errno() == errno.ENOBUFS:
                sent = _LOST_AT_ONCE_PKTS
            if sent < 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            done += sent

    def allow_unsent(self, size_bytes: int) -> None:
        """Let so much be under way to the device, which then loses what it has no room for; else sending waits."""
        self._socket.setsockopt(socket.SOL_SOCKET, _SNDBUFFORCE, size_bytes)

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()


@lru_cache(maxsize=64)
def _ends(part: int) -> Any:
    """Return the client's last two address bytes and its port, by connection, of one part of all connections."""
    numbers: Any = np.arange(part * _ENDS, (part + 1) * _ENDS, dtype="u4")
    return np.stack((numbers // _SPORTS, numbers % _SPORTS + _FIRST_SPORT), axis=1).astype(">u2").view("u1")


def deliveries() -> dict[str, int]:
    """Return how many packets each network device has been given."""
    return {name: counts[_GIVEN] for name, counts in _counted().items()}


def taken(device: str) -> int:
    """Return how many packets a switch has taken from a network device of its own."""
    return _counted()[device][_TAKEN]


def _counted() -> dict[str, list[int]]:
    # Of this process's network namespace; sysfs shows the one that it was mounted in.
    lines = (line.split(":") for line in Path("/proc/net/dev").read_text().splitlines() if ":" in line)
    return {name.strip(): [int(count) for count in counts.split()] for name, counts in lines}


def own_network() -> None:
    """Move this process to a network namespace of its own: two userspace datapaths cannot share one."""
    if _LIBC.unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)

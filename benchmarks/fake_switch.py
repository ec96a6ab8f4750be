"""A fake OpenFlow switch: the switch's side of one connection, quick enough to saturate a controller."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from benchmarks import openflow
from benchmarks.openflow import Bundle, FlowMod, Port, Type

T = TypeVar("T")

_BUFFER_BYTES: Final = 1 << 20
_SPIN_S: Final = 0.0002
# asm-generic/socket.h; the answer is a struct timespec. Python's socket module does not name it.
_SO_TIMESTAMPNS: Final = 35
_STAMP: Final = struct.Struct("@qq")
_STAMP_ROOM: Final = 64
# ONF's bundle extension for OpenFlow 1.3 (EXT-230): experimenter id, then control and add messages.
_ONF: Final = 0x4F4E4600
_ONF_BUNDLE_CONTROL, _ONF_BUNDLE_ADD = 2300, 2301


class Disconnected(Exception):
    """The controller closed the connection or refused it."""


class FakeSwitch:
    """One connection to a controller: it answers what a switch answers, and counts what it is told.

    packet_outs and flow_mods count messages since the start, idle_s the time in which nothing was there to read.
    stamp_ns is when the kernel took in what was read last (CLOCK_REALTIME), from `stamp_answers` on.
    recorded holds the raw flow-mods while record is set, those of a bundle from its commit on.
    """

    def __init__(self, version: int, dpid: int, ports: Sequence[Port]) -> None:
        self.version = version
        self.packet_outs = 0
        self.flow_mods = 0
        self.errors: list[tuple[int, int]] = []
        self.idle_s = 0.0
        self.stamp_ns = 0
        self.recorded: list[bytes] = []
        self.record = True
        self._dpid = dpid
        self._ports = tuple(ports)
        self._ready = False
        self._config = struct.pack("!HH", 0, 0xFFFF)
        self._bundles: dict[int, list[bytes]] = {}
        self._buffer = bytearray(_BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._filled = 0
        self._unsent = b""
        self._stamped = False
        self._socket: socket.socket
        self._poll = select.poll()

    def connect(self, host: str, tcp_port: int, *, timeout_s: float = 20.0) -> None:
        """Connect, as often as needed while the controller starts, and return after the features and port replies."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                self._socket = socket.create_connection((host, tcp_port), timeout=1.0)
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise Disconnected(f"nothing listens on {host}:{tcp_port} after {timeout_s} s: {error}") from error
                time.sleep(0.05)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self._poll.register(self._socket, select.POLLIN)
        self.send(openflow.hello(self.version))
        self.pump_until(lambda: self._ready, timeout_s=timeout_s, what="a features request")
        self.settle()

    def close(self) -> None:
        """Close the connection."""
        self._poll.unregister(self._socket)
        self._socket.close()

    def settle(self, *, quiet_s: float = 0.5, timeout_s: float = 20.0) -> None:
        """Serve until the controller has been silent for a while."""
        deadline = time.monotonic() + timeout_s
        quiet_from = time.monotonic()
        while time.monotonic() < min(deadline, quiet_from + quiet_s):
            if self.pump(0.05):
                quiet_from = time.monotonic()

    def serve_while(self, work: Callable[[], T]) -> T:
        """Return what work returns, serving the controller while it runs in a thread of its own."""
        with ThreadPoolExecutor(max_workers=1) as executor:
            future = executor.submit(work)
            while not future.done():
                self.pump(0.002)
            return future.result()

    def pump_until(self, condition: Callable[[], bool], *, timeout_s: float, what: str) -> None:
        """Serve until the condition holds; Disconnected, naming what was awaited, when it does not in time."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise Disconnected(f"no {what} within {timeout_s} s")
            self.pump(0.05)

    def send(self, data: bytes | memoryview) -> None:
        """Send, keeping what the socket does not take now for the next call of `pump`."""
        if self._unsent:
            self._unsent += data
            return
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise Disconnected(str(error)) from error
        if sent < len(data):
            self._unsent = bytes(data[sent:])

    def pump(self, wait_s: float) -> bool:
        """Read once and handle all that came; False when nothing came within wait_s.

        The first 200 µs of a wait are spent asking again and again, so that a wake-up of this process
        does not count as the controller's time.
        """
        if self._unsent:
            data, self._unsent = self._unsent, b""
            self.send(data)
        asked_first = 0.0
        while True:
            try:
                count = self._receive()
                break
            except BlockingIOError:
                now = time.monotonic()
                asked_first = asked_first or now
                if now - asked_first >= min(wait_s, _SPIN_S) and not self._wait(wait_s):
                    self.idle_s += time.monotonic() - asked_first
                    return False
            except OSError as error:
                raise Disconnected(str(error)) from error
        if not count:
            raise Disconnected(f"the controller closed the connection; errors that it sent: {self.errors}")
        if asked_first:
            self.idle_s += time.monotonic() - asked_first
        self._scan(self._filled + count)
        return True

    def _receive(self) -> int:
        if not self._stamped:
            return self._socket.recv_into(self._view[self._filled :])
        count, ancillary, _, _ = self._socket.recvmsg_into([self._view[self._filled :]], _STAMP_ROOM)
        if ancillary:
            seconds, nanoseconds = _STAMP.unpack(ancillary[0][2])
            self.stamp_ns = seconds * 1_000_000_000 + nanoseconds
        return count

    def stamp_answers(self) -> None:
        """Have the kernel tell when it took in what is read; of several pieces that it joined, the last."""
        if not self._stamped:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            self._stamped = True
            # The kernel begins to stamp packets a little later.
            self.settle(quiet_s=0.1)

    @property
    def crowded(self) -> bool:
        """Whether something could not be sent yet, because the controller does not read."""
        return bool(self._unsent)

    def _wait(self, wait_s: float) -> bool:
        wait_ms = 1 if self._unsent else max(0, round(wait_s * 1000))
        return bool(self._poll.poll(wait_ms)) if wait_ms else False

    def _scan(self, end: int) -> None:
        """Walk the messages by their headers; only what is neither a packet-out nor a flow-mod is looked into."""
        buffer, unpack = self._buffer, openflow.HEADER.unpack_from
        packet_out, flow_mod = int(Type.PACKET_OUT), int(Type.FLOW_MOD)
        looks_into_flow_mods = self.record
        at = packet_outs = flow_mods = 0
        while at + 8 <= end:
            _, kind, length, xid = unpack(buffer, at)
            if length < 8:
                raise Disconnected(f"the controller sent a message of {length} bytes")
            if at + length > end:
                break
            if kind == packet_out:
                packet_outs += 1
            elif kind == flow_mod and not looks_into_flow_mods:
                flow_mods += 1
            else:
                self._handle(kind, xid, bytes(buffer[at + 8 : at + length]))
            at += length
        self.packet_outs += packet_outs
        self.flow_mods += flow_mods
        self._filled = end - at
        if at and self._filled:
            buffer[: self._filled] = buffer[at:end]

    def _handle(self, kind: int, xid: int, body: bytes) -> None:
        version = self.version
        match kind:
            case Type.FLOW_MOD:
                self._keep(openflow.message(version, kind, xid, body))
            case Type.ECHO_REQUEST:
                self.send(openflow.message(version, Type.ECHO_REPLY, xid, body))
            case Type.FEATURES_REQUEST:
                self.send(openflow.features_reply(version, xid, self._dpid))
                self._ready = True
            case Type.GET_CONFIG_REQUEST:
                self.send(openflow.message(version, Type.GET_CONFIG_REPLY, xid, self._config))
            case Type.SET_CONFIG:
                self._config = body
            case Type.MULTIPART_REQUEST:
                self.send(openflow.multipart_reply(version, xid, int.from_bytes(body[:2], "big"), self._ports))
            case Type.BARRIER_REQUEST:
                self.send(openflow.message(version, Type.BARRIER_REPLY, xid))
            case Type.ROLE_REQUEST:
                self.send(openflow.message(version, Type.ROLE_REPLY, xid, body))
            case Type.GET_ASYNC_REQUEST:
                self.send(openflow.message(version, Type.GET_ASYNC_REPLY, xid))
            case Type.BUNDLE_CONTROL:
                self.send(openflow.message(version, kind, xid, self._bundle_control(body)))
            case Type.BUNDLE_ADD:
                self._bundle_add(body)
            case Type.EXPERIMENTER:
                self._experimenter(xid, body)
            case Type.ERROR:
                kind_and_code = struct.unpack_from("!HH", body)
                self.errors.append((kind_and_code[0], kind_and_code[1]))
            case _:
                pass

    def _experimenter(self, xid: int, body: bytes) -> None:
        experimenter, kind = struct.unpack_from("!II", body)
        if (experimenter, kind) == (_ONF, _ONF_BUNDLE_CONTROL):
            reply = body[:8] + self._bundle_control(body[8:])
            self.send(openflow.message(self.version, Type.EXPERIMENTER, xid, reply))
        elif (experimenter, kind) == (_ONF, _ONF_BUNDLE_ADD):
            self._bundle_add(body[8:])

    def _bundle_control(self, body: bytes) -> bytes:
        bundle, kind, flags = struct.unpack_from("!IHH", body)
        if kind == Bundle.OPEN:
            self._bundles[bundle] = []
        elif kind in (Bundle.COMMIT, Bundle.DISCARD):
            for raw in self._bundles.pop(bundle, []):
                if kind == Bundle.COMMIT:
                    self._keep(raw)
        return struct.pack("!IHH", bundle, kind + 1, flags)

    def _bundle_add(self, body: bytes) -> None:
        bundle = int.from_bytes(body[:4], "big")
        length = int.from_bytes(body[10:12], "big")
        if body[9] == Type.FLOW_MOD:
            self._bundles.setdefault(bundle, []).append(body[8 : 8 + length])

    def _keep(self, raw: bytes) -> None:
        self.flow_mods += 1
        if self.record:
            self.recorded.append(raw)

    def entries(self) -> list[FlowMod]:
        """Return the parts of the recorded flow-mods."""
        return [openflow.parse_flow_mod(raw) for raw in self.recorded]

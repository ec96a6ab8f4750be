"""Frames of new connections, and a ring of packet-ins that is patched instead of built."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks import openflow

_IP, _TCP = 14, 34
_IDENT, _SRC_LOW, _SPORT, _SEQ = _IP + 4, _IP + 14, _TCP, _TCP + 4
_FIRST_SPORT: Final = 1024
RING_MESSAGES: Final = 32768
_BLOCK_MESSAGES: Final = 256


def mac(text: str) -> bytes:
    """Return the six bytes of a MAC address written with colons."""
    return bytes.fromhex(text.replace(":", ""))


def ipv4(text: str) -> bytes:
    """Return the four bytes of an IPv4 address."""
    return bytes(map(int, text.split(".")))


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def tcp_syn(eth_src: bytes, eth_dst: bytes, ipv4_src: bytes, ipv4_dst: bytes, l4_dst: int) -> bytes:
    """Return a minimal Ethernet frame of 60 bytes with a TCP SYN.

    The identification and the sequence number hold the complements of the low half of the source address and of the
    source port, so that both checksums stay right when `ConnectionRing` changes them together.
    """
    low = int.from_bytes(ipv4_src[2:], "big")
    sequence = (0xFFFF - low) << 16 | (0xFFFF - _FIRST_SPORT)
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 40, 0xFFFF - low, 0x4000, 64, 6, 0) + ipv4_src + ipv4_dst
    ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
    tcp = struct.pack("!HHIIBBHHH", _FIRST_SPORT, l4_dst, sequence, 0, 0x50, 0x02, 64240, 0, 0)
    tcp_sum = checksum(ipv4_src + ipv4_dst + struct.pack("!HH", 6, len(tcp)) + tcp)
    tcp = tcp[:16] + struct.pack("!H", tcp_sum) + tcp[18:]
    return (eth_dst + eth_src + b"\x08\x00" + ip + tcp).ljust(60, b"\0")


@dataclass(frozen=True, slots=True, kw_only=True)
class PacketInTemplate:
    """What a miss looks like: where it missed, the state of the pipeline, and the frame."""

    frame: bytes
    in_port: int
    table_id: int = 0
    cookie: int = 0
    registers: Mapping[int, int]
    reason: int = 0

    def encode(self, version: int) -> bytes:
        """Return the packet-in message."""
        return openflow.packet_in(
            version,
            table_id=self.table_id,
            cookie=self.cookie,
            in_port=self.in_port,
            registers=self.registers,
            reason=self.reason,
            frame=self.frame,
        )


class ConnectionRing:
    """An endless row of packet-ins of new TCP connections, every one with a 5-tuple of its own.

    The ring is one buffer of equal messages that differ in source port; templates take turns.
    In each round the low half of all source addresses is another, 65,536 rounds in all.
    It is written by strides, a block ahead of what is taken, so that taking n messages costs little more than a slice:
    to write all of a round at once would be a pause of a millisecond, in which the load stands still.
    """

    def __init__(self, version: int, templates: Sequence[PacketInTemplate], *, size: int = RING_MESSAGES) -> None:
        if not 0 < size <= 0x10000 - _FIRST_SPORT:
            raise ValueError(f"a ring of {size} messages; there are {0x10000 - _FIRST_SPORT} source ports")
        encoded = [template.encode(version) for template in templates]
        self.message_bytes = len(encoded[0])
        if any(len(each) != self.message_bytes for each in encoded):
            raise ValueError("the templates of one ring must make messages of one length")
        if any(len(template.frame) != len(templates[0].frame) for template in templates):
            raise ValueError("the templates of one ring must have frames of one length")
        self._size = size
        self._frame = self.message_bytes - len(templates[0].frame)
        self._ring = bytearray(b"".join(encoded[i % len(encoded)] for i in range(size)))
        self._view = memoryview(self._ring)
        self._next = self._written = 0
        self._low = int.from_bytes(templates[0].frame[_SRC_LOW : _SRC_LOW + 2], "big")
        sports = range(_FIRST_SPORT, _FIRST_SPORT + size)
        self._patch(_SPORT, 0, bytes(p >> 8 for p in sports), bytes(p & 0xFF for p in sports))
        self._patch(_SEQ + 2, 0, bytes(~p >> 8 & 0xFF for p in sports), bytes(~p & 0xFF for p in sports))

    def take(self, count: int) -> memoryview | bytes:
        """Return the next count messages; a view is only good until the next call."""
        end = self._next + count
        if end <= self._size:
            if end > self._written:
                self._write_addresses(end)
            view = self._view[self._next * self.message_bytes : end * self.message_bytes]
            self._next = end
            return view
        rest = bytes(self.take(self._size - self._next))
        self._next = self._written = 0
        self._low = (self._low + 1) & 0xFFFF
        return rest + bytes(self.take(end - self._size))

    def _write_addresses(self, end: int) -> None:
        """Write this round's address into the messages up to one, and some more."""
        start, self._written = self._written, min(self._size, end + _BLOCK_MESSAGES)
        for offset, value in ((_SRC_LOW, self._low), (_IDENT, 0xFFFF - self._low), (_SEQ, 0xFFFF - self._low)):
            count = self._written - start
            self._patch(offset, start, bytes([value >> 8]) * count, bytes([value & 0xFF]) * count)

    def _patch(self, offset: int, first: int, highs: bytes, lows: bytes) -> None:
        """Write two bytes of so many messages."""
        start, end = first * self.message_bytes, (first + len(highs)) * self.message_bytes
        at = start + self._frame + offset
        self._ring[at : end : self.message_bytes] = highs
        self._ring[at + 1 : end : self.message_bytes] = lows

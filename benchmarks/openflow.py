"""OpenFlow 1.3 and 1.4 messages of the switch's side, as bytes.

Section numbers are those of the OpenFlow Switch Specification 1.4.0; 1.3 differs only where said.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

VERSIONS: Final = {"1.3": 0x04, "1.4": 0x05}
OF_14: Final = 0x05

HEADER: Final = struct.Struct("!BBHI")
NO_BUFFER: Final = 0xFFFFFFFF
PORT_CONTROLLER: Final = 0xFFFFFFFD
MAX_TABLES: Final = 254


class Type(IntEnum):
    """Message types (section 7.1)."""

    HELLO = 0
    ERROR = 1
    ECHO_REQUEST = 2
    ECHO_REPLY = 3
    EXPERIMENTER = 4
    FEATURES_REQUEST = 5
    FEATURES_REPLY = 6
    GET_CONFIG_REQUEST = 7
    GET_CONFIG_REPLY = 8
    SET_CONFIG = 9
    PACKET_IN = 10
    PACKET_OUT = 13
    FLOW_MOD = 14
    GROUP_MOD = 15
    PORT_MOD = 16
    TABLE_MOD = 17
    MULTIPART_REQUEST = 18
    MULTIPART_REPLY = 19
    BARRIER_REQUEST = 20
    BARRIER_REPLY = 21
    ROLE_REQUEST = 24
    ROLE_REPLY = 25
    GET_ASYNC_REQUEST = 26
    GET_ASYNC_REPLY = 27
    SET_ASYNC = 28
    METER_MOD = 29
    BUNDLE_CONTROL = 33
    BUNDLE_ADD = 34


class Multipart(IntEnum):
    """Multipart types with a body of their own here (section 7.3.5)."""

    DESC = 0
    FLOW = 1
    AGGREGATE = 2
    GROUP_FEATURES = 8
    METER_FEATURES = 11
    TABLE_FEATURES = 12
    PORT_DESC = 13


class Bundle(IntEnum):
    """Bundle control types; the reply to each request is the next number (section 7.3.9.2)."""

    OPEN = 0
    CLOSE = 2
    COMMIT = 4
    DISCARD = 6


# OXM classes and fields (section 7.2.3.2); class 1 is Open vSwitch's NXM_1, whose fields 0 to 15 are registers.
OXM_BASIC: Final = 0x8000
OXM_NXM_1: Final = 0x0001
OXM_IN_PORT: Final = 0
_EXPERIMENTER_CLASS: Final = 0xFFFF

_BAD_REQUEST, _BAD_MULTIPART = 1, 2


@dataclass(frozen=True, slots=True)
class Port:
    """One port of the fake switch."""

    port_no: int
    name: str
    mac: bytes


def message(version: int, kind: int, xid: int, body: bytes = b"") -> bytes:
    """Return a message with its header."""
    return HEADER.pack(version, kind, 8 + len(body), xid) + body


def hello(version: int) -> bytes:
    """Return a hello whose version bitmap holds the one version (section 7.5.1)."""
    return message(version, Type.HELLO, 0, struct.pack("!HHI", 1, 8, 1 << version))


def features_reply(version: int, xid: int, dpid: int) -> bytes:
    """Return a features reply without buffers (section 7.3.1)."""
    return message(version, Type.FEATURES_REPLY, xid, struct.pack("!QIBBHII", dpid, 0, MAX_TABLES, 0, 0, 0x4F, 0))


def multipart_reply(version: int, xid: int, kind: int, ports: Sequence[Port]) -> bytes:
    """Return the reply to a multipart request: ports and features truly, other lists empty.

    Table features, and what the version does not have, are refused.
    """
    if kind == Multipart.TABLE_FEATURES or kind > (16 if version >= OF_14 else Multipart.PORT_DESC):
        return message(version, Type.ERROR, xid, struct.pack("!HH", _BAD_REQUEST, _BAD_MULTIPART) + bytes(8))
    match kind:
        case Multipart.PORT_DESC:
            body = b"".join(_port(version, port) for port in ports)
        case Multipart.DESC:
            texts = ((b"vfswitch benchmarks", 256), (b"fake", 256), (b"load generator", 256), (b"1", 32), (b"", 256))
            body = b"".join(text.ljust(width, b"\0") for text, width in texts)
        case Multipart.AGGREGATE:
            body = bytes(24)
        case Multipart.GROUP_FEATURES:
            body = struct.pack("!II4I4I", 0xF, 0xF, *[0xFFFFFF00] * 4, *[0xFFFFFFFF] * 4)
        case Multipart.METER_FEATURES:
            body = struct.pack("!IIIBBxx", 200_000, 0b10, 0b1111, 1, 0)
        case _:
            body = b""
    return message(version, Type.MULTIPART_REPLY, xid, struct.pack("!HHI", kind, 0, 0) + body)


def _port(version: int, port: Port) -> bytes:
    name = port.name.encode()[:15].ljust(16, b"\0")
    speeds = struct.pack("!6I", 0x2840, 0, 0, 0, 10_000_000, 10_000_000)
    if version < OF_14:
        return struct.pack("!I4x6s2x16sII", port.port_no, port.mac, name, 0, 0) + speeds
    ethernet = struct.pack("!HH4x", 0, 8 + len(speeds)) + speeds
    size = 40 + len(ethernet)
    return struct.pack("!IH2x6s2x16sII", port.port_no, size, port.mac, name, 0, 0) + ethernet


def packet_in(
    version: int, *, table_id: int, cookie: int, in_port: int, registers: Mapping[int, int], reason: int, frame: bytes
) -> bytes:
    """Return an unbuffered packet-in as Open vSwitch writes it: in_port, then the registers that are not zero."""
    oxms = struct.pack("!HBBI", OXM_BASIC, OXM_IN_PORT << 1, 4, in_port)
    for number, value in sorted(registers.items()):
        if value:
            oxms += struct.pack("!HBBI", OXM_NXM_1, number << 1, 4, value)
    match = struct.pack("!HH", 1, 4 + len(oxms)) + oxms
    match += bytes(-len(match) % 8)
    head = struct.pack("!IHBBQ", NO_BUFFER, len(frame), reason, table_id, cookie)
    return message(version, Type.PACKET_IN, 0, head + match + bytes(2) + frame)


FieldKey = tuple[int, int]


@dataclass(frozen=True, slots=True)
class FlowMod:
    """The parts of a flow-mod that the benchmarks look at.

    fields maps (OXM class, field) to value and mask, mask None for an exact value.
    sets maps a register's number to the value that the entry writes into it.
    """

    cookie: int
    table_id: int
    command: int
    priority: int
    fields: Mapping[FieldKey, tuple[bytes, bytes | None]]
    to_controller: bool
    sets: Mapping[int, int]


def parse_flow_mod(raw: bytes) -> FlowMod:
    """Return the parts of a flow-mod message; ValueError or struct.error when it is malformed."""
    cookie, table_id, command, priority = struct.unpack_from("!Q8xBB4xH", raw, 8)
    match_kind, match_length = struct.unpack_from("!HH", raw, 48)
    if match_kind != 1 or match_length < 4:
        raise ValueError(f"a flow-mod with match type {match_kind} of {match_length} bytes")
    fields = dict(_oxms(raw, 52, 48 + match_length))
    to_controller, sets = False, dict[int, int]()
    for kind, start, end in _tlvs(raw, 48 + (match_length + 7) // 8 * 8, len(raw)):
        if kind not in (3, 4):  # write and apply actions (section 7.2.4)
            continue
        for action, at, stop in _tlvs(raw, start + 8, end):
            if action == 0:  # output (section 7.2.5)
                to_controller |= struct.unpack_from("!I", raw, at + 4)[0] == PORT_CONTROLLER
            elif action == 0xFFFF:  # Nicira's, among them output to controllers (subtype 37)
                to_controller |= struct.unpack_from("!IH", raw, at + 4) == (0x2320, 37)
            elif action == 25:  # set-field
                for (oxm_class, field), (value, _) in _oxms(raw, at + 4, min(stop, at + 8 + raw[at + 7])):
                    if oxm_class == OXM_NXM_1 and field < 16:
                        sets[field] = int.from_bytes(value, "big")
    return FlowMod(cookie, table_id, command, priority, fields, to_controller, sets)


def _tlvs(raw: bytes, start: int, end: int) -> list[tuple[int, int, int]]:
    found = []
    while start + 4 <= end:
        kind, length = struct.unpack_from("!HH", raw, start)
        if length < 4:
            raise ValueError(f"a structure of {length} bytes")
        found.append((kind, start, start + length))
        start += length
    return found


def _oxms(raw: bytes, start: int, end: int) -> list[tuple[FieldKey, tuple[bytes, bytes | None]]]:
    found: list[tuple[FieldKey, tuple[bytes, bytes | None]]] = []
    while start + 4 <= end:
        oxm_class, field, length = struct.unpack_from("!HBB", raw, start)
        body = raw[start + 4 : start + 4 + length]
        start += 4 + length
        if oxm_class == _EXPERIMENTER_CLASS:
            continue
        half = length // 2
        found.append(((oxm_class, field >> 1), (body[:half], body[half:]) if field & 1 else (body, None)))
    return found

"""Messages of the switch's side, as bytes, for feeding to decoders and connections."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from ryu_apps.control.events import PresentEntry
from ryu_apps.pipeline.cookie import Cookie, EntryClass, Punt
from ryu_apps.pipeline.tables import NUMBER
from ryu_apps.southbound.wire import OXM, Type

PUNTED = Cookie(EntryClass.PUNT, detail=Punt.MISS).pack()


def message(kind: int, body: bytes = b"", *, xid: int = 0, version: int = 5, length: int | None = None) -> bytes:
    """Return a message; length, when given, is a lie."""
    return struct.pack("!BBHI", version, kind, 8 + len(body) if length is None else length, xid) + body


def hello(bitmap: int | None = 1 << 5, *, version: int = 5) -> bytes:
    """Return a hello with this bitmap of versions, or without any."""
    element = b"" if bitmap is None else struct.pack("!HHI", 1, 8, bitmap)
    return message(Type.HELLO, element, version=version)


def features_reply(xid: int, dpid: int) -> bytes:
    """Return the features of a switch (OpenFlow 1.4.0, section 7.3.1)."""
    return message(Type.FEATURES_REPLY, struct.pack("!QIBB2xII", dpid, 0, 254, 0, 0x4F, 0), xid=xid)


def port(name: str, port_no: int, *, length: int = 40) -> bytes:
    """Return a port description (OpenFlow 1.4.0, section 7.2.1)."""
    return struct.pack("!IH2x6s2x16sII", port_no, length, b"\2" * 6, name.encode(), 0, 4)


def multipart(kind: int, body: bytes, *, xid: int = 0, more: bool = False) -> bytes:
    """Return one part of a multipart reply (OpenFlow 1.4.0, section 7.3.5)."""
    return message(Type.MULTIPART_REPLY, struct.pack("!HH4x", kind, more) + body, xid=xid)


def oxm_fields(fields: Iterable[tuple[str, int]]) -> bytes:
    """Return exact fields in the order given."""
    return b"".join(struct.pack("!I", OXM[name]) + value.to_bytes(OXM[name] & 0xFF, "big") for name, value in fields)


def match(fields: bytes) -> bytes:
    """Return a whole match around its fields, padded."""
    return struct.pack("!HH", 1, 4 + len(fields)) + fields + bytes(-(4 + len(fields)) % 8)


def packet_in(fields: bytes, frame: bytes, *, table_id: int = NUMBER["missed"], cookie: int = PUNTED) -> bytes:
    """Return a packet-in (OpenFlow 1.4.0, section 7.4.1)."""
    head = struct.pack("!IHBBQ", 0xFFFFFFFF, len(frame), 0, table_id, cookie)
    return message(Type.PACKET_IN, head + match(fields) + b"\0\0" + frame)


def flow_removed(
    cookie: int, *, reason: int = 0, packets: int = 0, octets: int = 0, duration_s: int = 0, hard_timeout_s: int = 0
) -> bytes:
    """Return a flow-removed with an empty match (OpenFlow 1.4.0, section 7.4.2)."""
    table, idle_timeout_s = NUMBER["outbound"], 7
    head = struct.pack("!QHBBIIHHQQ", cookie, 100, reason, table, duration_s, 7, idle_timeout_s, hard_timeout_s,
                       packets, octets)  # fmt: skip
    return message(Type.FLOW_REMOVED, head + match(b""))


def flow_stats(entry: PresentEntry, *, length: int | None = None) -> bytes:
    """Return the statistics of one entry (OpenFlow 1.4.0, section 7.3.5.2); length, when given, is a lie."""
    body = match(entry.match) + entry.instructions
    head = struct.pack(
        "!HBxIIHHHHH2xQQQ", 48 + len(body) if length is None else length, entry.table, 1, 2, entry.priority,
        entry.idle_timeout_s, entry.hard_timeout_s, 1, 0, entry.cookie, entry.packets, entry.octets,
    )  # fmt: skip
    return head + body


def error(kind: int, code: int, data: bytes = b"", *, xid: int = 0) -> bytes:
    """Return an error (OpenFlow 1.4.0, section 7.5.4)."""
    return message(Type.ERROR, struct.pack("!HH", kind, code) + data, xid=xid)

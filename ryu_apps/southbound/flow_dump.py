"""Flow statistics decoded: what a switch says that it has."""

from __future__ import annotations

from struct import Struct
from typing import Final

from ryu_apps.control.events import PresentEntry
from ryu_apps.southbound.malformed import Malformed
from ryu_apps.southbound.wire import ANY, DELETE_STRICT, MATCH_OXM, NO_BUFFER, VERSION, Type

# Flow statistics (OpenFlow 1.4.0, section 7.3.5.2): length, table_id, duration_sec, duration_nsec, priority,
# idle_timeout, hard_timeout, flags, importance, cookie, packet_count, byte_count; then the header of the match.
_ENTRY: Final = Struct("!HBx8xHHH2x2x2xQQQHH")
_MATCH_AT: Final = 48
_SMALLEST: Final = 56

_REQUEST: Final = Struct("!BBHIHH4xB3xII4xQQHH4x")
_MULTIPART_FLOW: Final = 1
ALL_TABLES: Final = 0xFF
_WHOLE_COOKIE: Final = (1 << 64) - 1

_new = tuple.__new__


def request(xid: int, table_id: int, cookie: int, cookie_mask: int) -> bytes:
    """Return the request for the statistics of entries whose cookie agrees with the given one under the mask."""
    return _REQUEST.pack(
        VERSION, Type.MULTIPART_REQUEST, _REQUEST.size, xid, _MULTIPART_FLOW, 0,
        table_id, ANY, ANY, cookie, cookie_mask, MATCH_OXM, 4,
    )  # fmt: skip


def request_cookie(cookie: int, xid: int) -> bytes:
    """Return the request for the statistics of the entries with one cookie."""
    return request(xid, ALL_TABLES, cookie, _WHOLE_COOKIE)


def decode(body: bytes) -> list[PresentEntry]:
    """Return the entries in the body of one reply; Malformed when lengths do not fit."""
    found: list[PresentEntry] = []
    keep, unpack = found.append, _ENTRY.unpack_from
    at, end = 0, len(body)
    while at < end:
        if end - at < _SMALLEST:
            raise Malformed("short flow statistics")
        length, table, priority, idle_s, hard_s, cookie, packets, octets, match_type, match_bytes = unpack(body, at)
        match_at = at + _MATCH_AT
        instructions_at = match_at + (match_bytes + 7 & ~7)
        after = at + length
        if length < _SMALLEST or after > end or instructions_at > after or match_bytes < 4 or match_type != MATCH_OXM:
            raise Malformed("flow statistics")
        match = body[match_at + 4 : match_at + match_bytes]
        instructions = body[instructions_at:after]
        keep(_new(PresentEntry, (table, priority, cookie, match, instructions, idle_s, hard_s, packets, octets)))
        at = after
    return found


# Flow-mod (OpenFlow 1.4.0, section 7.3.4.1) up to the match: cookie and mask 0, command, no timeouts, priority,
# buffer_id, out_port, out_group, no flags.
_DELETE: Final = Struct("!BBH4x16xBB4xHIII4xHH")


def delete_strict(entry: PresentEntry) -> bytes:
    """Return the flow-mod that removes an entry as the switch reported it."""
    match_bytes = 4 + len(entry.match)
    padding = -match_bytes % 8
    length = _MATCH_AT + match_bytes + padding
    return (
        _DELETE.pack(
            VERSION, Type.FLOW_MOD, length, entry.table, DELETE_STRICT, entry.priority, NO_BUFFER, ANY, ANY,
            MATCH_OXM, match_bytes,
        )
        + entry.match
        + bytes(padding)
    )  # fmt: skip

"""Flow-removed messages of cached entries, and of such as refuse for a moment, decoded in place."""

from __future__ import annotations

from struct import Struct
from typing import Final

from ryu_apps.control.events import FlowRemoved
from ryu_apps.pipeline.cookie import CACHED, MARK, EntryClass
from ryu_apps.southbound.malformed import Malformed

# Flow-removed (OpenFlow 1.4.0, section 7.4.2): header; cookie, priority, reason, table_id, duration_sec,
# duration_nsec, idle_timeout, hard_timeout, packet_count, byte_count; match.
_BODY: Final = Struct("!8xQHBBIIHHQQ")
_SMALLEST: Final = 56

_OURS: Final = frozenset(MARK << 4 | entry_class for entry_class in (*CACHED, EntryClass.GUARD))


def decode(data: bytes, at: int, length: int, dpid: int) -> FlowRemoved | None:
    """Return the flow-removed whose message of `length` bytes begins at `at`; None when it is no such entry of ours.

    Malformed when the message is too short.
    """
    if length < _SMALLEST:
        raise Malformed("short flow-removed")
    cookie, _, reason, _, duration_s, _, _, _, packets, octets = _BODY.unpack_from(data, at)
    if cookie >> 52 not in _OURS:
        return None
    return FlowRemoved(dpid, cookie, reason, packets, octets, duration_s)

"""Flow-removed messages of cached entries, and of such as refuse for a moment, decoded in place."""

from __future__ import annotations

from struct import Struct
from typing import Final

from ryu_apps.control.events import FlowRemoved
from ryu_apps.pipeline.cached import FIN_HARD_TIMEOUT_S
from ryu_apps.pipeline.cookie import CACHED, MARK, EntryClass
from ryu_apps.southbound.malformed import Malformed

# Flow-removed (OpenFlow 1.4.0, section 7.4.2): header; cookie, priority, reason, table_id, duration_sec,
# duration_nsec, idle_timeout, hard_timeout, packet_count, byte_count; match.
_BODY: Final = Struct("!8xQHBBIIHHQQ")
_SMALLEST: Final = 56

_OURS: Final = frozenset(MARK << 4 | entry_class for entry_class in (*CACHED, EntryClass.GUARD))


# Of these the reason and the hard timeout.
_REASON_AT: Final = 18
_HARD_TIMEOUT: Final = slice(30, 32)
_BY_FIN: Final = FIN_HARD_TIMEOUT_S.to_bytes(2, "big")


def ended_by_fin(data: bytes, at: int, length: int) -> tuple[int, int] | None:
    """Return cookie and reason of an entry that may be gone because of a FIN; None when it cannot be one."""
    if length < _SMALLEST or data[at + _HARD_TIMEOUT.start : at + _HARD_TIMEOUT.stop] != _BY_FIN:
        return None
    return int.from_bytes(data[at + 8 : at + 16], "big"), data[at + _REASON_AT]


def decode(data: bytes, at: int, length: int, dpid: int) -> FlowRemoved | None:
    """Return the flow-removed whose message of `length` bytes begins at `at`; None when it is no such entry of ours.

    Malformed when the message is too short.
    """
    if length < _SMALLEST:
        raise Malformed("short flow-removed")
    cookie, _, reason, _, duration_s, _, _, hard_timeout_s, packets, octets = _BODY.unpack_from(data, at)
    if cookie >> 52 not in _OURS:
        return None
    return FlowRemoved(dpid, cookie, reason, packets, octets, duration_s, hard_timeout_s)

"""Packet-ins decoded in place: the registers come from a look-up of the match's raw bytes wherever they can."""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from ryu_apps.control.events import PacketIn, ProbeCaught
from ryu_apps.pipeline.cookie import DETAIL_MASK, INBOUND_PUNT, MARK, EntryClass, Punt
from ryu_apps.pipeline.registers import RECEIVER, SEGMENT, SENDER
from ryu_apps.pipeline.tables import NUMBER
from ryu_apps.southbound.malformed import Malformed
from ryu_apps.southbound.wire import MATCH_OXM, OXM

# Packet-in (OpenFlow 1.4.0, section 7.4.1): header; buffer_id, total_len, reason, table_id, cookie; match; 2 bytes pad.
_HEAD: Final = Struct("!15xBQHH")
_MATCH_AT: Final = 24
_SMALLEST: Final = 34

_MISSED: Final = NUMBER["missed"]
_OURS: Final = MARK << 4 | EntryClass.PUNT
_CAUGHT: Final = MARK << 4 | EntryClass.PROBE
# Why an entry asks, and which cache the packet missed in.
_CACHES: Final = {0: "outbound", INBOUND_PUNT: "inbound"}
_ASKED: Final = {punt | bit: (punt, cache) for punt in Punt for bit, cache in _CACHES.items()}
_MAX_KNOWN: Final = 1 << 16


class Origin(NamedTuple):
    """Where a packet was in the pipeline: the metadata that a packet-in's match brings."""

    in_port: int
    segment: int
    sender: int
    receiver: int


_known: dict[bytes, Origin] = {}
_new = tuple.__new__


def decode(data: bytes, at: int, length: int, dpid: int) -> PacketIn | None:
    """Return the packet-in whose message of `length` bytes begins at `at`; None when no entry of ours sent it.

    Malformed when lengths do not fit or the match has no in_port.
    """
    if length < _SMALLEST:
        raise Malformed("short packet-in")
    table_id, cookie, match_type, match_bytes = _HEAD.unpack_from(data, at)
    asked = _ASKED.get(cookie & DETAIL_MASK)
    if cookie >> 52 != _OURS or asked is None or table_id != _MISSED:
        return None
    punt, table = asked
    match_at = at + _MATCH_AT
    frame_at = match_at + (match_bytes + 7 & ~7) + 2
    end = at + length
    if frame_at > end or match_type != MATCH_OXM:
        raise Malformed("packet-in match")
    match = data[match_at + 4 : match_at + match_bytes]
    in_port, segment, sender, receiver = _known.get(match) or _remember(match)
    frame = data[frame_at:end]
    return _new(PacketIn, (dpid, table, punt, in_port, segment, sender, receiver, frame))


def decode_probe(data: bytes, at: int, length: int, dpid: int) -> ProbeCaught | None:
    """Return the probe in a packet-in that `decode` has returned None for; None when it is none.

    Malformed when lengths do not fit or the match has no in_port.
    """
    _, cookie, match_type, match_bytes = _HEAD.unpack_from(data, at)
    if cookie >> 52 != _CAUGHT:
        return None
    match_at = at + _MATCH_AT
    frame_at = match_at + (match_bytes + 7 & ~7) + 2
    if frame_at > at + length or match_type != MATCH_OXM:
        raise Malformed("packet-in match")
    origin = walk(data[match_at + 4 : match_at + match_bytes])
    return ProbeCaught(dpid, origin.in_port, data[frame_at : at + length])


def _remember(match: bytes) -> Origin:
    origin = walk(match)
    if len(_known) >= _MAX_KNOWN:
        _known.clear()
    _known[match] = origin
    return origin


_FIELDS: Final = {OXM[name]: place for place, name in enumerate(("in_port", SEGMENT, SENDER, RECEIVER))}


def walk(match: bytes) -> Origin:
    """Return the metadata in a match's fields, whatever their order; registers left out are 0.

    Malformed when a field runs over the end or in_port is missing.
    """
    found: list[int | None] = [None, 0, 0, 0]
    at, end = 0, len(match)
    while at < end:
        if at + 4 > end:
            raise Malformed("packet-in match")
        header = int.from_bytes(match[at : at + 4], "big")
        after = at + 4 + (header & 0xFF)
        if after > end:
            raise Malformed("packet-in match")
        place = _FIELDS.get(header)
        if place is not None:
            found[place] = int.from_bytes(match[at + 4 : after], "big")
        at = after
    in_port, segment, sender, receiver = found
    if in_port is None:
        raise Malformed("packet-in match")
    return Origin(in_port, segment or 0, sender or 0, receiver or 0)

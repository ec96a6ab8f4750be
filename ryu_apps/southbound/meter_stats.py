"""What a switch's meters have dropped (OpenFlow 1.4.0, section 7.3.5.7)."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from ryu_apps.southbound.malformed import Malformed
from ryu_apps.southbound.wire import VERSION, Type

if TYPE_CHECKING:
    from ryu_apps.southbound.link import Link

_REQUEST: Final = Struct("!BBHIHH4xI4x")
_MULTIPART_METER: Final = 9
_ALL: Final = 0xFFFFFFFF

# A meter's statistics: meter_id, length, flow_count, packet_in_count, byte_in_count, duration; then for each band the
# packets and bytes that met it.
_METER: Final = Struct("!IH6xIQQII")
_BAND: Final = Struct("!QQ")


def dropped(link: Link, timeout_s: float) -> dict[int, int]:
    """Return how many packets each meter of a switch has dropped, by its number; raises what requests to it raise."""
    found: dict[int, int] = {}
    for part in link.multipart([request], decode, timeout_s):
        found |= part
    return found


def request(xid: int) -> bytes:
    """Return the request for the statistics of all meters."""
    return _REQUEST.pack(VERSION, Type.MULTIPART_REQUEST, _REQUEST.size, xid, _MULTIPART_METER, 0, _ALL)


def decode(body: bytes) -> dict[int, int]:
    """Return the packets that met the bands of the meters of one reply; Malformed when lengths do not fit."""
    found: dict[int, int] = {}
    at, end = 0, len(body)
    while at < end:
        if end - at < _METER.size:
            raise Malformed("short meter statistics")
        number, length, *_ = _METER.unpack_from(body, at)
        bands = body[at + _METER.size : at + length]
        if length < _METER.size or at + length > end or len(bands) % _BAND.size:
            raise Malformed("meter statistics")
        found[number] = sum(packets for packets, _ in _BAND.iter_unpack(bands))
        at += length
    return found

"""Meters on the wire: changes, and what a switch says of those it has (OpenFlow 1.4.0, 7.3.4.4 and 7.3.5)."""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import TYPE_CHECKING, Final

from ryu_apps.control.effects import MeterChange
from ryu_apps.control.sharing import MeterCount
from ryu_apps.model.action import RateUnit
from ryu_apps.model.errors import SwitchRefused
from ryu_apps.pipeline.meters import MeterConfig
from ryu_apps.southbound.malformed import Malformed
from ryu_apps.southbound.requests import Exchange
from ryu_apps.southbound.wire import HEADER, VERSION, Type
from ryu_apps.southbound.words import refusal

if TYPE_CHECKING:
    from ryu_apps.southbound.link import Link

ADD, MODIFY, DELETE = range(3)
"""Meter-mod commands."""

_BURST: Final = 1 << 2
_UNITS: Final = {RateUnit.KBPS: 1 << 0, RateUnit.PPS: 1 << 1}
_FLAGS: Final = {flag | _BURST: unit for unit, flag in _UNITS.items()}
_DROP: Final = 1

_METER_MOD: Final = Struct("!BBHIHHI")
_BAND: Final = Struct("!HHII4x")
_REQUEST: Final = Struct("!BBHIHH4xI4x")
_CONFIG: Final = Struct("!HHI")
_MULTIPART_COUNT: Final = 9
_MULTIPART_CONFIG: Final = 10
# Meter statistics (OpenFlow 1.4.0, section 7.3.5, ofp_meter_stats): meter_id, len, flow_count, packet_in_count,
# byte_in_count, duration in s and ns; then packets and octets that each band had.
_COUNT: Final = Struct("!IH6x4xQQII")
_BAND_COUNT: Final = Struct("!QQ")
ALL: Final = 0xFFFFFFFF
"""In the place of a meter's number: all of them (OpenFlow 1.4.0, section 7.3.4.4, OFPM_ALL)."""


def meter_mod(command: int, meter: MeterConfig, xid: int = 0) -> bytes:
    """Return the message that adds or alters a meter with one band that drops."""
    band = _BAND.pack(_DROP, _BAND.size, meter.rate, meter.burst)
    length = _METER_MOD.size + len(band)
    flags = _UNITS[meter.unit] | _BURST
    return _METER_MOD.pack(VERSION, Type.METER_MOD, length, xid, command, flags, meter.number) + band


def meter_delete(number: int, xid: int = 0) -> bytes:
    """Return the message that removes a meter; Open vSwitch removes the entries that name it too."""
    return _METER_MOD.pack(VERSION, Type.METER_MOD, _METER_MOD.size, xid, DELETE, 0, number)


def request(xid: int, number: int = ALL) -> bytes:
    """Return the request for the configuration of a meter, or of all."""
    return _REQUEST.pack(VERSION, Type.MULTIPART_REQUEST, _REQUEST.size, xid, _MULTIPART_CONFIG, 0, number)


def decode(body: bytes) -> dict[int, MeterConfig | None]:
    """Return the meters of one reply by number, None for one that is not of our making; Malformed as lengths demand."""
    found: dict[int, MeterConfig | None] = {}
    at, end = 0, len(body)
    while at < end:
        if end - at < _CONFIG.size:
            raise Malformed("short meter configuration")
        length, flags, number = _CONFIG.unpack_from(body, at)
        if length < _CONFIG.size or at + length > end:
            raise Malformed("meter configuration")
        found[number] = _read(flags, number, body[at + _CONFIG.size : at + length])
        at += length
    return found


def _read(flags: int, number: int, bands: bytes) -> MeterConfig | None:
    unit = _FLAGS.get(flags)
    if unit is None or len(bands) != _BAND.size:
        return None
    kind, length, rate, burst = _BAND.unpack(bands)
    return MeterConfig(number, unit, rate, burst) if (kind, length) == (_DROP, _BAND.size) else None


def count_request(xid: int, number: int = ALL) -> bytes:
    """Return the request for the counts of a meter, or of all."""
    return _REQUEST.pack(VERSION, Type.MULTIPART_REQUEST, _REQUEST.size, xid, _MULTIPART_COUNT, 0, number)


def decode_counts(body: bytes) -> dict[int, MeterCount]:
    """Return what the meters of one reply have counted, by number; Malformed as lengths demand."""
    found: dict[int, MeterCount] = {}
    at, end = 0, len(body)
    while at < end:
        if end - at < _COUNT.size:
            raise Malformed("short meter count")
        number, length, _, octets, age_s, age_ns = _COUNT.unpack_from(body, at)
        bands = length - _COUNT.size
        if bands < 0 or bands % _BAND_COUNT.size or at + length > end:
            raise Malformed("meter count")
        each = list(_BAND_COUNT.iter_unpack(body[at + _COUNT.size : at + length]))
        packets, dropped = sum(band[0] for band in each), sum(band[1] for band in each)
        found[number] = MeterCount(age_s * 1000 + age_ns // 1_000_000, max(octets - dropped, 0), dropped, packets)
        at += length
    return found


def commit(link: Link, change: MeterChange, timeout_s: float) -> None:
    """Return when a switch has changed its meters; SwitchRefused names the first that it would not take.

    What came before a refusal is done: who asked brings the switch to agree again.
    """
    if not any(change):
        return
    with link.changing, Exchange(link, timeout_s) as exchange:
        barrier = exchange.expect(Type.BARRIER_REPLY)
        messages = [*_messages(change, barrier), HEADER.pack(VERSION, Type.BARRIER_REQUEST, 8, barrier)]
        exchange.send(b"".join(messages))
        exchange.wait(barrier)
        if exchange.errors:
            raise SwitchRefused(f"datapath {link.name} refused a meter: {refusal(exchange.errors[0]).text}")
        link.links.removed(link, meters=(*(meter.number for meter in change.altered), *change.gone))


def _messages(change: MeterChange, xid: int) -> Iterator[bytes]:
    for meter in change.put:
        yield meter_mod(ADD, meter, xid)
    for meter in change.altered:
        yield meter_mod(MODIFY, meter, xid)
    for number in change.gone:
        yield meter_delete(number, xid)

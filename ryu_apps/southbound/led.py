"""What connections had borrowed of NAT pools before a restart, read from the entries that lead their replies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ryu_apps.control.events import PresentEntry
from ryu_apps.control.quarantine import Led
from ryu_apps.pipeline.cookie import EntryClass, unpack
from ryu_apps.pipeline.registers import SEGMENT
from ryu_apps.southbound.cached_match import fields_of, key_of_fields

_ADDRESSES = ("ipv4_dst", "ipv6_dst")
_PORTS = ("tcp_dst", "udp_dst", "sctp_dst")


def replies_led(present: Iterable[PresentEntry]) -> Iterator[Led]:
    """Yield what each entry says that leads replies; those of other forms are passed over."""
    for entry in present:
        cookie = unpack(entry.cookie)
        fields = fields_of(entry.match) if cookie is not None and cookie.entry_class is EntryClass.LEAD else None
        segment = None if fields is None else fields.pop(SEGMENT, None)
        key = None if fields is None else key_of_fields({**fields, "eth_src": 0})
        if cookie is not None and key is not None and segment is not None:
            yield Led(cookie.vport, segment, key)


def sources_led(present: Iterable[PresentEntry]) -> dict[int, tuple[int, int]]:
    """Return address and port (0 for none) that replies of each flow, by id, are sent to."""
    found: dict[int, tuple[int, int]] = {}
    for entry in present:
        cookie = unpack(entry.cookie)
        if cookie is None or cookie.entry_class is not EntryClass.LEAD:
            continue
        fields = fields_of(entry.match) or {}
        address = next((fields[name] for name in _ADDRESSES if name in fields), None)
        if address is not None:
            found[cookie.detail] = address, next((fields[name] for name in _PORTS if name in fields), 0)
    return found

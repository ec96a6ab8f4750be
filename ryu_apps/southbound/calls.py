"""What a switch is asked to do or to tell, waited for.

Call these from a green thread that is no receive loop.
They raise SwitchRefused, NotConfirmed after the timeout, and SwitchAway when the connection is or gets lost.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import eventlet

from ryu_apps.control.effects import MeterChange, SwitchChange
from ryu_apps.control.events import PresentEntry
from ryu_apps.control.sharing import MeterCount
from ryu_apps.model.errors import SwitchAway, SwitchRefused
from ryu_apps.pipeline.meters import MeterConfig
from ryu_apps.pipeline.tables import NUMBER
from ryu_apps.southbound import bundle, flow_dump, meters
from ryu_apps.southbound.malformed import Malformed
from ryu_apps.southbound.requests import Exchange
from ryu_apps.southbound.wire import HEADER, VERSION, Type
from ryu_apps.southbound.words import refusal

if TYPE_CHECKING:
    from ryu_apps.southbound.link import Link

T = TypeVar("T")

_MULTIPART_BODY: Final = 16
# Misses wait while replies are decoded.
_DECODED_AT_ONCE_BYTES: Final = 1 << 15
# So many questions of 56 bytes fit the outbox, and their answers come in some milliseconds.
_ASKED_AT_ONCE: Final = 500


def barrier(link: Link, timeout_s: float = 5.0) -> None:
    """Return when the switch has done all that it was sent before."""
    with Exchange(link, timeout_s) as exchange:
        xid = exchange.expect(Type.BARRIER_REPLY)
        exchange.send(HEADER.pack(VERSION, Type.BARRIER_REQUEST, 8, xid))
        exchange.wait(xid)


def commit(link: Link, change: SwitchChange, timeout_s: float = 10.0) -> None:
    """Return when the switch has made a change as one; after SwitchRefused it has made nothing of its entries.

    Meters have no part in bundles: new ones come before the entries, old ones go after them.
    """
    meters.commit(link, change.meters._replace(gone=()), timeout_s)
    bundle.commit(link, change, timeout_s)
    meters.commit(link, MeterChange(gone=change.meters.gone), timeout_s)


def dump_flows(
    link: Link, *, table: str | None = None, cookie: int = 0, cookie_mask: int = 0, timeout_s: float = 30.0
) -> list[PresentEntry]:
    """Return the entries whose cookie agrees under the mask, of one table or of all."""
    table_id = flow_dump.ALL_TABLES if table is None else NUMBER[table]
    requests = [lambda xid: flow_dump.request(xid, table_id, cookie, cookie_mask)]
    parts = _multipart(link, requests, flow_dump.decode, timeout_s)
    return [entry for part in parts for entry in part]


def dump_meters(
    link: Link, timeout_s: float = 5.0, numbers: Collection[int] = (meters.ALL,)
) -> dict[int, MeterConfig | None]:
    """Return the meters that the switch has, by number, all or some; None for one that is not of our making."""
    found: dict[int, MeterConfig | None] = {}
    requests = [partial(meters.request, number=number) for number in numbers]
    for part in _multipart(link, requests, meters.decode, timeout_s):
        found |= part
    return found


def count_meters(link: Link, timeout_s: float = 5.0, numbers: Collection[int] = (meters.ALL,)) -> dict[int, MeterCount]:
    """Return what the switch's meters have counted, by number, all or some."""
    found: dict[int, MeterCount] = {}
    requests = [partial(meters.count_request, number=number) for number in numbers]
    for part in _multipart(link, requests, meters.decode_counts, timeout_s):
        found |= part
    return found


def dump_cookies(link: Link, cookies: Sequence[int], timeout_s: float = 30.0) -> list[PresentEntry]:
    """Return the entries that have one of these cookies.

    Each is asked for by itself, because the switch finds a whole cookie by its hash and looks through all
    of its entries for one under a mask; but all are asked at once.
    """
    found: list[PresentEntry] = []
    for start in range(0, len(cookies), _ASKED_AT_ONCE):
        requests = [partial(flow_dump.request_cookie, cookie) for cookie in cookies[start : start + _ASKED_AT_ONCE]]
        found += [entry for part in _multipart(link, requests, flow_dump.decode, timeout_s) for entry in part]
    return found


def _multipart(
    link: Link, requests: Sequence[Callable[[int], bytes]], decode: Callable[[bytes], T], timeout_s: float
) -> Iterator[T]:
    """Yield the decoded parts of multipart replies, once all of them are here; the requests go in one write."""
    with Exchange(link, timeout_s) as exchange:
        xids = [exchange.expect(Type.MULTIPART_REPLY) for _ in requests]
        exchange.send(b"".join([request(xid) for request, xid in zip(requests, xids, strict=True)]))
        for xid in xids:
            exchange.wait(xid)
    if exchange.errors:
        raise SwitchRefused(f"datapath {link.name} refused a request: {refusal(exchange.errors[0]).text}")
    try:
        decoded_bytes = 0
        for message in (message for xid in xids for message in exchange.replies.pop(xid)):
            yield decode(message[_MULTIPART_BODY:])
            decoded_bytes += len(message)
            if decoded_bytes > _DECODED_AT_ONCE_BYTES:
                decoded_bytes = 0
                eventlet.sleep(0)
    except Malformed as fault:
        link.give_up(f"malformed: {fault}")
        raise SwitchAway(f"datapath {link.name} was closed: its reply is malformed") from fault

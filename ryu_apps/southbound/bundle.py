"""Atomic changes: one bundle per change, all of it or nothing (OpenFlow 1.4.0, section 6.8)."""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import TYPE_CHECKING, Final

from ryu_apps.control.effects import AnyEntry, SwitchChange
from ryu_apps.control.events import PresentEntry
from ryu_apps.model.errors import NotConfirmed, SwitchRefused
from ryu_apps.pipeline.cached import CachedEntry
from ryu_apps.southbound import flow_dump, templates, wire
from ryu_apps.southbound.codec import flow_mod
from ryu_apps.southbound.requests import Exchange
from ryu_apps.southbound.wire import HEADER, VERSION, Type
from ryu_apps.southbound.words import refusal

if TYPE_CHECKING:
    from ryu_apps.southbound.link import Link

# Bundle control: bundle_id, type, flags; bundle add: bundle_id, pad, flags, the message (section 7.3.9).
_CONTROL: Final = Struct("!BBHIIHH")
_ADD: Final = Struct("!BBHII2xH")
_OPEN, _COMMIT, _DISCARD = 0, 4, 6
_ATOMIC_ORDERED: Final = 3
_SLICE_BYTES: Final = 1 << 16


def commit(link: Link, change: SwitchChange, timeout_s: float) -> None:
    """Return when a switch has made a change as one; at once for an empty change.

    Open vSwitch commits the rest of a bundle when it has refused a message of it, so the barrier comes first: only a
    bundle without any error is committed, every other is discarded.
    SwitchRefused, SwitchAway and NotConfirmed as in `calls`.
    """
    if not change.removed and not change.added:
        return
    with Exchange(link, timeout_s) as exchange:
        bundle = link.next_xid()
        opened, added = exchange.expect(Type.BUNDLE_CONTROL), exchange.expect(Type.BUNDLE_CONTROL)
        barrier = exchange.expect(Type.BARRIER_REPLY)
        for part in _slices(_messages(change, bundle, opened, added, barrier)):
            exchange.send(part)
        try:
            exchange.wait(barrier)
        except NotConfirmed:
            link.outbox.write(_control(bundle, _DISCARD, exchange.expect(Type.BUNDLE_CONTROL)))
            raise
        done = exchange.expect(Type.BUNDLE_CONTROL)
        with link.changing:
            exchange.send(_control(bundle, _DISCARD if exchange.errors else _COMMIT, done))
            exchange.wait(done)
            if exchange.errors:
                raise _refused(link, exchange.errors[0])
            link.links.removed(link, change.removed)


def _refused(link: Link, error: bytes) -> SwitchRefused:
    said = refusal(error)
    which = f", for the entry with cookie 0x{said.cookie:016x}" if said.cookie else ""
    return SwitchRefused(f"datapath {link.name} refused the change: {said.text}{which}")


def _control(bundle: int, kind: int, xid: int) -> bytes:
    return _CONTROL.pack(VERSION, Type.BUNDLE_CONTROL, _CONTROL.size, xid, bundle, kind, _ATOMIC_ORDERED)


def _messages(change: SwitchChange, bundle: int, opened: int, added: int, barrier: int) -> Iterator[bytes]:
    """Yield all messages up to the decision; those of the bundle share one id, since only errors answer them."""
    yield _control(bundle, _OPEN, opened)
    for entry in change.removed:
        yield _add(bundle, added, _encode(entry, wire.DELETE_STRICT))
    for entry in change.added:
        yield _add(bundle, added, _encode(entry, wire.ADD))
    yield HEADER.pack(VERSION, Type.BARRIER_REQUEST, 8, barrier)


def _encode(entry: AnyEntry, command: int) -> bytes:
    """Return the flow-mod of an entry, by template where there is one."""
    if isinstance(entry, CachedEntry):
        return templates.add(entry) if command == wire.ADD else templates.delete_strict(entry)
    if isinstance(entry, PresentEntry):
        return flow_dump.delete_strict(entry)
    return flow_mod(entry, command)


def _add(bundle: int, xid: int, inner: bytes) -> bytes:
    """Return the message that puts a flow-mod into a bundle; both have the same id, as section 7.3.9.6 demands."""
    length = _ADD.size + len(inner)
    head = _ADD.pack(VERSION, Type.BUNDLE_ADD_MESSAGE, length, xid, bundle, _ATOMIC_ORDERED)
    return b"".join((head, inner[:4], xid.to_bytes(4, "big"), inner[8:]))


def _slices(messages: Iterator[bytes]) -> Iterator[bytes]:
    """Yield messages joined to pieces of a size that one write takes."""
    piece: list[bytes] = []
    size = 0
    for message in messages:
        piece.append(message)
        size += len(message)
        if size >= _SLICE_BYTES:
            yield b"".join(piece)
            piece, size = [], 0
    if piece:
        yield b"".join(piece)

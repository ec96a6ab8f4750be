"""The receive loop of one connection: it reads all that there is, and answers what waits while nothing new comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import eventlet

from ryu_apps.southbound.outbox import WOULD_BLOCK

if TYPE_CHECKING:
    from ryu_apps.southbound.link import Link
    from ryu_apps.southbound.readable import Readable
    from ryu_apps.southbound.receiver import Receiver

RECEIVE_BYTES: Final = 1 << 16


def receive(link: Link, receiver: Receiver, readable: Readable) -> None:
    """Return when the connection has ended.

    Reading goes before answering what waits: only who has read a packet-in knows whose turn it is.
    """
    raw, clock, limits = link.raw, link.clock, link.limits
    rest = b""
    turn_ends_s = clock() + limits.turn_s
    while not link.is_closed:
        try:
            data = raw.recv(RECEIVE_BYTES) if not receiver.full else None
        except WOULD_BLOCK:
            data = None
        except OSError:
            break
        if data is not None:
            if not data:
                break
            link.hear()
            rest = receiver.take(rest + data if rest else data)
        elif not receiver.waiting:
            readable.wait()
            turn_ends_s = clock() + limits.turn_s
            continue
        if receiver.waiting:
            receiver.answer_waiting()
        if link.outbox.crowded:
            link.outbox.wait_room()
        if clock() > turn_ends_s:
            eventlet.sleep(0)
            turn_ends_s = clock() + (limits.crowded_turn_s if receiver.waiting else limits.turn_s)

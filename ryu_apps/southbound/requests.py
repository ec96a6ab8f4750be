"""Questions to a switch and their answers, matched by transaction id inside the receive loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import eventlet
from eventlet.event import Event

from ryu_apps.model.errors import NotConfirmed, SwitchAway
from ryu_apps.southbound.malformed import Malformed
from ryu_apps.southbound.wire import Type

if TYPE_CHECKING:
    from ryu_apps.southbound.link import Link

ANSWERS: Final = frozenset({Type.ERROR, Type.MULTIPART_REPLY, Type.BARRIER_REPLY, Type.BUNDLE_CONTROL})
"""Messages that can answer a request of ours."""

_REPLY_MORE: Final = 1
"""Multipart flag: more parts follow (OpenFlow 1.4.0, section 7.3.5)."""


class Waiter(Protocol):
    """Who waits for the answers to a transaction id."""

    def take(self, kind: int, xid: int, message: bytes) -> None:
        """Take an answer; Malformed when it is not what was asked for."""

    def lose(self) -> None:
        """Take note that the connection is gone and no answer will come."""


class Exchange:
    """One conversation with a switch: the ids that it uses, and what came back for them.

    Use as a context manager inside a green thread that is no receive loop.
    replies holds whole messages by id, errors the error messages in order of arrival.
    """

    def __init__(self, link: Link, timeout_s: float) -> None:
        self.replies: dict[int, list[bytes]] = {}
        self.errors: list[bytes] = []
        self._link = link
        self._timeout_s = timeout_s
        self._deadline_s = link.clock() + timeout_s
        self._expected: dict[int, Type] = {}
        self._answered: set[int] = set()
        self._size = 0
        self._lost = False
        self._wake: Event | None = None

    def __enter__(self) -> Exchange:
        if not self._link.is_up:
            raise self._away()
        return self

    def __exit__(self, *_: object) -> None:
        for xid in self._expected:
            self._link.exchanges.pop(xid, None)

    def expect(self, reply: Type) -> int:
        """Return a fresh transaction id whose reply will be of this type; errors are expected of every one."""
        xid = self._link.next_xid()
        self._expected[xid] = reply
        self._link.exchanges[xid] = self
        return xid

    def send(self, data: bytes) -> None:
        """Write whole messages once there is room for them."""
        self._link.outbox.write(data)
        self._link.outbox.wait_room()
        eventlet.sleep(0)

    def wait(self, xid: int) -> None:
        """Return when the reply or error for an id has come.

        NotConfirmed after the timeout of the whole exchange, SwitchAway when the connection is lost.
        """
        while xid not in self._answered:
            left_s = self._deadline_s - self._link.clock()
            if self._lost:
                raise self._away()
            if left_s <= 0:
                raise NotConfirmed(f"datapath {self._link.name} did not answer within {self._timeout_s:g} s")
            self._wake = Event()
            with eventlet.Timeout(left_s, False):
                self._wake.wait()

    def take(self, kind: int, xid: int, message: bytes) -> None:
        """Keep an answer; Malformed when it is not what was asked for."""
        self._size += len(message)
        if self._size > self._link.limits.reply_bytes:
            raise Malformed("endless reply")
        if kind == Type.ERROR:
            self.errors.append(message)
        elif kind != self._expected[xid]:
            raise Malformed("wrong reply")
        else:
            self.replies.setdefault(xid, []).append(message)
            if kind == Type.MULTIPART_REPLY and _more(message):
                return
        self._answered.add(xid)
        self._notify()

    def lose(self) -> None:
        """Tell the waiter that the connection is gone."""
        self._lost = True
        self._notify()

    def _notify(self) -> None:
        if self._wake is not None:
            self._wake.send()
            self._wake = None

    def _away(self) -> SwitchAway:
        return SwitchAway(f"datapath {self._link.name} is not connected")


def _more(message: bytes) -> bool:
    if len(message) < 16:
        raise Malformed("short multipart")
    return bool(message[11] & _REPLY_MORE)

"""The one way out of a connection: whole messages in order, at once when the socket takes them, later when not."""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import eventlet
from eventlet.event import Event
from eventlet.hubs import trampoline

from ryu_apps.southbound.limits import Limits

WOULD_BLOCK: Final = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_PIECE_BYTES: Final = 1 << 18


class Outbox:
    """What is on its way to one peer.

    `give_up` is called with a reason, once, when the peer does not read or the connection fails.
    """

    def __init__(self, socket: Any, limits: Limits, give_up: Callable[[str], None]) -> None:
        self.unsent_bytes = 0
        self._socket = socket
        self._limits = limits
        self._give_up = give_up
        self._unsent: deque[bytes | memoryview] = deque()
        self._drain: Any = None
        self._room: Event | None = None
        self._open = True

    @property
    def crowded(self) -> bool:
        """Whether so much is unsent that nothing more should be asked for."""
        return self.unsent_bytes > self._limits.crowded_bytes

    def write(self, data: bytes) -> None:
        """Send whole messages, or keep them to be sent; never waits. Nothing is sent after `close`."""
        if not self._open:
            return
        unsent: bytes | memoryview = data
        if not self._unsent:
            try:
                sent = self._socket.send(data)
            except WOULD_BLOCK:
                sent = 0
            except OSError:
                self._fail("connection lost")
                return
            if sent == len(data):
                return
            unsent = memoryview(data)[sent:]
            if self._drain is None:
                self._drain = eventlet.spawn(self._send_rest)
        self._unsent.append(unsent)
        self.unsent_bytes += len(unsent)
        if self.unsent_bytes > self._limits.backlog_bytes:
            self._fail("backlog too long")

    def wait_room(self) -> None:
        """Return when the outbox is not crowded any more, or closed."""
        while self._open and self.crowded:
            if self._room is None:
                self._room = Event()
            self._room.wait()

    def close(self) -> None:
        """Forget what is unsent and release all who wait."""
        self._open = False
        self._unsent.clear()
        self.unsent_bytes = 0
        self._release()
        drain, self._drain = self._drain, None
        if drain is not None and drain is not eventlet.getcurrent():
            drain.kill()

    def _send_rest(self) -> None:
        try:
            while self._unsent:
                trampoline(self._socket, write=True, timeout=self._limits.stall_s, timeout_exc=TimeoutError)
                piece = self._take_piece()
                try:
                    sent = self._socket.send(piece)
                except WOULD_BLOCK:
                    sent = 0
                self.unsent_bytes -= sent
                if sent < len(piece):
                    self._unsent.appendleft(memoryview(piece)[sent:])
                if not self.crowded:
                    self._release()
        except TimeoutError:
            self._fail("does not read")
        except OSError:
            self._fail("connection lost")
        finally:
            self._drain = None

    def _take_piece(self) -> bytes:
        """Return the next bytes to send, many small messages as one."""
        pieces = [self._unsent.popleft()]
        size = len(pieces[0])
        while self._unsent and size < _PIECE_BYTES:
            pieces.append(self._unsent.popleft())
            size += len(pieces[-1])
        return b"".join(pieces)

    def _release(self) -> None:
        if self._room is not None:
            self._room.send()
            self._room = None

    def _fail(self, reason: str) -> None:
        if self._open:
            self.close()
            self._give_up(reason)

"""Waiting for a socket to become readable, with the kernel told once and not anew for every wait."""

from __future__ import annotations

import os
from time import monotonic
from typing import Any, Final

import eventlet
from eventlet.hubs import get_hub

# What it costs to be put to sleep and woken, in a virtual machine whose core falls idle meanwhile.
WAKE_S: Final = 0.00005


class Readable:
    """One green thread's wait for one socket.

    It stays registered between waits, which saves a quarter of what a lone miss costs.
    When the socket is readable and nobody waits, it takes itself off, so that the hub does not spin.

    After a short wait the next one looks for look_s before it sleeps: what comes within that is read at once.
    To look for as long as a wake costs is at most twice as dear as the better of both would have been (ski rental:
    Karlin, Manasse, Rudolph and Sleator, Competitive Snoopy Caching, 1988).
    On a machine with one core nobody could send meanwhile; 0 stands for never.
    """

    def __init__(self, socket: Any, look_s: float = WAKE_S if (os.cpu_count() or 1) > 1 else 0.0) -> None:
        self._hub = get_hub()
        self._fileno: int = socket.fileno()
        self._listener: Any = None
        self._waiting: Any = None
        # Hubs that ask the kernel otherwise than by poll or epoll have no such object.
        self._poll: Any = getattr(getattr(self._hub, "poll", None), "poll", None)
        self._look_s = look_s if self._poll else 0.0
        self._lively = False

    def wait(self) -> None:
        """Return when there is something to read, or the connection has ended."""
        if self._listener is None:
            self._listener = self._hub.add(self._hub.READ, self._fileno, self._wake, self._closed, self._close_noted)
        since_s = monotonic()
        if self._lively and self._look(since_s):
            return
        self._waiting = eventlet.getcurrent()
        try:
            self._hub.switch()
        finally:
            self._waiting = None
        # The wake itself is part of this wait.
        self._lively = monotonic() - since_s < 2 * self._look_s

    def _look(self, since_s: float) -> bool:
        """Return whether this socket, and no other, becomes readable before any green thread is due and time is up."""
        hub = self._hub
        if hub.next_timers:
            return False
        until_s = since_s + self._look_s
        if hub.timers:
            until_s = min(until_s, hub.timers[0][0])
        poll = self._poll
        while monotonic() < until_s:
            ready = poll(0)
            if ready:
                return len(ready) == 1 and ready[0][0] == self._fileno
        return False

    def stop(self) -> None:
        """Take the socket off the hub; to be called before it is closed."""
        listener, self._listener = self._listener, None
        if listener is not None:
            self._hub.remove(listener)

    def _wake(self, _fileno: int) -> None:
        if self._waiting is None:
            self.stop()
        else:
            self._waiting.switch()

    def _closed(self, fault: BaseException) -> None:
        self._listener = None
        if self._waiting is not None:
            self._waiting.throw(fault)

    def _close_noted(self) -> None:
        self._listener = None

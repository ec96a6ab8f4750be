"""Waiting for a socket: looking first after a short wait, and never at the cost of others."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import eventlet
import greenlet
import pytest
from eventlet import hubs

from ryu_apps.southbound.readable import Readable
from tests.unit.southbound.loop import TIMEOUT_S

# So long that what a test waits for is the reason that a look ends, and not the time.
LOOK_S = 2 * TIMEOUT_S


@pytest.fixture(autouse=True)
def own_hub() -> Iterator[None]:
    """Give a test a hub of its own, on which nothing that another test left is due or readable."""
    shared = hubs.get_hub()
    hubs.use_hub()
    yield
    hubs._threadlocal.hub = shared


class Pair:
    """Two ends of a connection, one of them waited for."""

    def __init__(self, look_s: float) -> None:
        self.near, self.far = socket.socketpair()
        self.near.setblocking(False)
        self.readable = Readable(self.near, look_s)

    def wait(self) -> bytes:
        """Return what is read after a wait."""
        self.readable.wait()
        return self.near.recv(100)

    def liven(self) -> None:
        """Make a wait that is short, so that the next one looks."""
        self.far.send(b"first")
        assert self.wait() == b"first"

    def close(self) -> None:
        """End both."""
        self.readable.stop()
        self.near.close()
        self.far.close()


@pytest.fixture
def lively() -> Iterator[Pair]:
    """Return a pair whose next wait looks first."""
    pair = Pair(LOOK_S)
    pair.liven()
    yield pair
    pair.close()


def switches_of_a_wait(pair: Pair) -> int:
    """Return how often another green thread ran while a pair waited for what was there already."""
    pair.far.send(b"next")
    switches: list[object] = []
    before = greenlet.settrace(lambda *event: switches.append(event))
    try:
        pair.readable.wait()
    finally:
        greenlet.settrace(before)
    assert pair.near.recv(100) == b"next"
    return len(switches)


def test_what_follows_a_short_wait_is_read_without_a_sleep(lively: Pair) -> None:
    """After a short wait, what comes next is found by looking, and no other green thread runs for it."""
    assert switches_of_a_wait(lively) == 0


def test_a_first_wait_and_one_with_no_time_to_look_go_by_the_hub(lively: Pair) -> None:
    """Without a short wait before it, or where looking is switched off, a wait gives the hub its turn."""
    fresh, never = Pair(LOOK_S), Pair(0.0)
    never.liven()
    assert switches_of_a_wait(fresh) and switches_of_a_wait(never)
    fresh.close()
    never.close()


def send_later(after_s: float, pair: Pair, data: bytes) -> None:
    """Have data sent to a pair by a green thread that the hub knows of already, so that it is due, not ready."""
    eventlet.spawn_after(after_s, pair.far.send, data)
    eventlet.sleep(0)


def test_a_long_wait_ends_the_looking() -> None:
    """A wait of more than twice the time of a look is followed by one that does not look."""
    pair = Pair(0.01)
    send_later(0.05, pair, b"late")
    assert pair.wait() == b"late"
    assert switches_of_a_wait(pair)
    pair.close()


def test_looking_leaves_ready_threads_their_turn(lively: Pair) -> None:
    """A green thread that is ready runs in a wait, though the socket has something."""
    ran: list[bool] = []
    eventlet.spawn(ran.append, True)
    lively.far.send(b"next")
    assert lively.wait() == b"next" and ran


def test_looking_ends_when_a_thread_is_due(lively: Pair) -> None:
    """A look lasts no longer than until the next green thread is due, which here is who sends."""
    send_later(0.01, lively, b"timed")
    started_s = time.monotonic()
    assert lively.wait() == b"timed"
    assert time.monotonic() - started_s < TIMEOUT_S


def test_looking_ends_when_another_socket_has_something(lively: Pair) -> None:
    """What comes for another connection is read at once, not when this one has looked for long enough."""
    other = Pair(LOOK_S)
    heard: list[bytes] = []

    def answer() -> None:
        heard.append(other.wait())
        lively.far.send(b"answer")

    eventlet.spawn(answer)
    eventlet.sleep(0)
    other.far.send(b"question")
    started_s = time.monotonic()
    assert lively.wait() == b"answer"
    assert heard == [b"question"] and time.monotonic() - started_s < TIMEOUT_S
    other.close()

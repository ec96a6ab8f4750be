"""Clients of the HTTP shell that are silent, send byte by byte, or do not read: their places come free in time."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from mininet_scripts.support.controller import APPS, Controller
from mininet_scripts.support.waiting import wait_until
from tests.unit.api.connection import Connection

PLACES = 2
PIECES, PIECE_BYTES = 16, 64 << 10


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    """Return a controller that waits a second for what clients send, with one of Ryu's own REST apps beside ours."""
    apps = (*APPS, "ryu.app.ofctl_rest", "tests/unit/api/impatient.py")
    with Controller(tmp_path_factory.mktemp("controller"), apps=apps) as controller:
        yield controller
        assert "Traceback" not in controller.log()


@pytest.mark.parametrize("first", [b"", b"GET /v1 HTTP/1.1\r\nHost: localhost\r\n\r\n"])
def test_an_idle_connection_is_closed(impatient: Controller, first: bytes) -> None:
    """A connection on which no request begins, or no further one, is closed without a word."""
    with Connection(impatient) as idle:
        idle.send_bytes(first)
        if first:
            assert idle.read_answer()[0] == 200
        assert idle.is_closed()


def _is_refused(connection: Connection) -> None:
    status, headers, body = connection.read_answer()
    assert (status, headers["content-type"], json.loads(body)["title"]) == (408, "application/problem+json", "Too slow")
    assert connection.is_closed()


def test_a_header_that_stops_is_refused(impatient: Controller) -> None:
    """A header that begins and does not end is answered with 408 (RFC 9110 section 15.5.9), and the connection ends."""
    with Connection(impatient) as slow:
        slow.send_bytes(b"GET /v1/layers HTTP/1.1\r\nHost: loc")
        _is_refused(slow)


@pytest.mark.parametrize("begun", [b"GET /v", b"GET /v1/layers HTTP/1.1\r\nHost: localhost\r\nX-Slow: "])
def test_a_header_that_trickles_is_refused(impatient: Controller, begun: bytes) -> None:
    """So is one of which a byte comes now and then, in its first line or later."""
    with Connection(impatient) as slow:
        slow.send_bytes(begun)
        with slow.trickling(b"a" * 1000):
            _is_refused(slow)


def test_a_body_that_trickles_is_refused(impatient: Controller) -> None:
    """A body that comes byte by byte is answered with 408, nothing is changed, and the connection ends."""
    with Connection(impatient) as slow:
        slow.send("PUT /v1/layers/slow", "Content-Length: 1000\r\n", b"{")
        with slow.trickling(b" " * 1000):
            _is_refused(slow)
    assert impatient.rest("GET", "/v1/layers/slow").status == 404


@pytest.mark.parametrize(("request_line", "status"), [("PATCH /v1/layers", 405), ("GET /nowhere", 404)])
def test_a_body_that_nobody_reads_holds_no_place(impatient: Controller, request_line: str, status: int) -> None:
    """A trickling body of a request that was answered without it, by us or by another app, is not heard to its end."""
    with Connection(impatient) as slow:
        slow.send(request_line, "Content-Length: 1000\r\n", b"{")
        with slow.trickling(b" " * 1000):
            assert slow.read_answer()[0] == status
            assert slow.is_closed()


def test_a_large_body_may_come_slowly(impatient: Controller) -> None:
    """A body may take the longer the longer it is: one that comes at a fair rate is accepted long after a second."""
    document = b'{"position": 1}'
    with Connection(impatient) as steady:
        steady.send("PUT /v1/layers/steady", f"Content-Length: {PIECES * PIECE_BYTES + len(document)}\r\n")
        steady.send_slowly([*[b" " * PIECE_BYTES] * PIECES, document], threading.Event())
        assert steady.read_answer()[0] == 201


def test_who_does_not_read_holds_no_place(tmp_path: Path) -> None:
    """Clients that ask and never read are cut off, and those who wait for their places are answered."""
    apps = (*APPS, "tests/unit/api/impatient_for_answers.py")
    with Controller(tmp_path, apps=apps) as controller, ExitStack() as stack:
        for _ in range(PLACES):
            deaf = stack.enter_context(Connection(controller))
            # Far more than the kernel keeps for who does not read.
            deaf.send_bytes(b"GET /v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 500)
        assert controller.rest("GET", "/v1/layers").status == 200
        wait_until(lambda: controller.log().count("did not read its answer in time"), 20, "all to be cut off",
                   until=lambda count: count == PLACES)  # fmt: skip
        assert "Traceback" not in controller.log()

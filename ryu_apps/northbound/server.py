"""HTTP connections that end: no client holds a place for longer than its request and its answer may take.

A request whose header or body does not come in time is refused with 408 (RFC 9110 section 15.5.9), as far as the
client still listens; who does not read its answer in time is cut off.
"""

from __future__ import annotations

import logging
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Any, Final

import eventlet
import eventlet.wsgi
from ryu.lib import hub

from ryu_apps.api import http
from ryu_apps.api.http import BODY_LIMIT_BYTES, LEAST_BYTES_PER_S
from ryu_apps.api.problems import TooSlow, problem

LOG = logging.getLogger("vfswitch")

# To close throws away what was not sent (SO_LINGER, socket(7)), which the kernel would keep for who does not read.
_AT_ONCE: Final = struct.pack("ii", 1, 0)


class Late(OSError):
    """A client has not sent, or not read, in time."""


def serve(server: hub.WSGIServer) -> None:
    """Serve all clients until the process ends; Ryu's own way waits for silent ones for ever."""
    eventlet.wsgi.server(
        server.server, server.handle, hub.LoggingWrapper(), max_size=http.PLACES, protocol=_Connection,
        socket_timeout=http.SILENT_S,
    )  # fmt: skip


def time_for_s(size_bytes: int) -> float:
    """Return how long a body of this size may take, of a request or an answer."""
    return http.PATIENCE_S + size_bytes / LEAST_BYTES_PER_S


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Raise Late in the block when it waits for longer than this."""
    with eventlet.Timeout(max(seconds, 0.0), Late("not in time")):
        yield


class _Answers:
    """The way out of a connection: each piece is read by the client in time, or everything after it is dropped."""

    closed = False

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.is_cut = False

    def write(self, data: bytes) -> int:
        """Send a piece; return its length."""
        if not self.is_cut:
            try:
                with _within(time_for_s(len(data))):
                    self._connection.sendall(memoryview(data))
            except OSError as error:
                self._cut(error)
        return len(data)

    def writelines(self, pieces: Iterable[bytes]) -> None:
        """Send pieces as one."""
        self.write(b"".join(pieces))

    def flush(self) -> None:
        """Do nothing: what was written is sent."""

    def close(self) -> None:
        """Do nothing: the connection is closed by who serves it."""

    def _cut(self, error: OSError) -> None:
        self.is_cut = True
        if isinstance(error, TimeoutError | Late):
            LOG.warning("REST: a client was cut off that did not read its answer in time")
        with suppress(OSError):
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            self._connection.shutdown(socket.SHUT_RDWR)


class _Body(eventlet.wsgi.Input):  # type: ignore[misc]
    """The body of a request, which comes in time from when it is asked for, or reading it raises Late."""

    _until_s: float | None = None

    def _do_read(self, *arguments: Any) -> Any:
        with _within(self._left_s()):
            return super()._do_read(*arguments)

    def _chunked_read(self, *arguments: Any) -> Any:
        with _within(self._left_s()):
            return super()._chunked_read(*arguments)

    def _left_s(self) -> float:
        """Return what is left of the time for the whole body; one that is too long is not waited for longer."""
        now_s = time.monotonic()
        if self._until_s is None:
            length = BODY_LIMIT_BYTES if self.content_length is None else self.content_length
            self._until_s = now_s + time_for_s(min(length, BODY_LIMIT_BYTES))
        return self._until_s - now_s


class _Connection(eventlet.wsgi.HttpProtocol):  # type: ignore[misc]
    """One connection, with any number of requests, each of which comes and is answered in time."""

    wfile: Any
    _in_header = False
    _header_time: Any = None

    def setup(self) -> None:
        """Prepare reading and writing."""
        super().setup()
        self.wfile.close()
        self.wfile = _Answers(self.connection)

    def handle_one_request(self) -> None:
        """Serve one request; the time of its header counts from its first byte."""
        if not self._has_begun():
            self.close_connection = True
            return
        self._in_header = True
        self._header_time = eventlet.Timeout(http.SILENT_S, Late("not in time"))
        try:
            super().handle_one_request()
        except Late:
            self.close_connection = True
            if self._in_header:
                self.wfile.write(_refusal(TooSlow(f"the header did not come within {http.SILENT_S:.0f} s")))
        finally:
            self._header_time.cancel()
        self.close_connection = self.close_connection or self.wfile.is_cut

    def parse_request(self) -> bool:
        """Return whether the header, which has come whole or is read now, is one; its time is over then."""
        understood = super().parse_request()
        self._header_time.cancel()
        self._in_header = False
        return bool(understood)

    def get_environ(self) -> dict[str, Any]:
        """Return what the applications are told of a request."""
        environ: dict[str, Any] = super().get_environ()
        made = environ["wsgi.input"]
        body = _Body(made.rfile, made.content_length, self.connection, made.wfile, made.wfile_line, made.chunked_input)
        environ["wsgi.input"] = environ["eventlet.input"] = body
        return environ

    def _has_begun(self) -> bool:
        """Return whether a request has begun; False when the client has left or is silent for too long."""
        try:
            return bool(self.rfile.peek(1))
        except OSError:
            return False


def _refusal(error: TooSlow) -> bytes:
    """Return the whole answer to a request of which not even the header is known."""
    response = problem(error)
    status = f"{response.status} {HTTPStatus(response.status).phrase}"
    fields = [*response.headers, ("Content-Length", str(len(response.body))), ("Connection", "close")]
    head = "".join(f"{name}: {value}\r\n" for name, value in fields)
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + response.body

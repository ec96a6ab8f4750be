"""A client of a running controller that may send what no library would, and as slowly as it likes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from mininet_scripts.support.controller import Controller

HEAD = "Host: localhost\r\nContent-Type: application/json\r\n"
TIMEOUT_S = 20.0
PAUSE_S = 0.1


class Connection:
    """A client that may send what no library would."""

    def __init__(self, controller: Controller) -> None:
        self._socket = socket.create_connection(("127.0.0.1", controller.rest_port), timeout=TIMEOUT_S)

    def __enter__(self) -> Connection:
        """Return the connection."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self._socket.close()

    def send(self, request_line: str, headers: str = "", body: bytes = b"") -> None:
        """Send a request, or the part of one."""
        self.send_bytes(f"{request_line} HTTP/1.1\r\n{HEAD}{headers}\r\n".encode() + body)

    def send_bytes(self, data: bytes) -> None:
        """Send bytes."""
        self._socket.sendall(data)

    def end_sending(self) -> None:
        """Say that nothing more will come."""
        self._socket.shutdown(socket.SHUT_WR)

    def read_answer(self) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of the next answer."""
        with self._socket.makefile("rb") as stream:
            status = int(stream.readline().split()[1])
            headers: dict[str, str] = {}
            for line in iter(stream.readline, b"\r\n"):
                name, _, value = line.decode().partition(":")
                headers[name.lower()] = value.strip()
            return status, headers, stream.read(int(headers.get("content-length", "0")))

    def is_closed(self) -> bool:
        """Return whether the server has closed the connection; waits for it."""
        try:
            return self._socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def send_slowly(self, pieces: Iterable[bytes], over: threading.Event) -> None:
        """Send pieces one by one with pauses, as far as the server takes them, until it is over."""
        with suppress(OSError):
            for piece in pieces:
                if over.wait(PAUSE_S):
                    return
                self.send_bytes(piece)

    @contextmanager
    def trickling(self, data: bytes) -> Iterator[None]:
        """Send bytes one by one while the block runs, so that the connection is never silent."""
        over = threading.Event()
        thread = threading.Thread(target=self.send_slowly, args=([bytes([byte]) for byte in data], over))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

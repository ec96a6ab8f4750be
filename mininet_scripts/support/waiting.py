"""Waiting for something to become true, and finding TCP ports to listen on."""

from __future__ import annotations

import reprlib
import secrets
import socket
import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")

POLL_S = 0.01

# Below the range that the kernel gives to outgoing connections: a switch that keeps trying to reach
# a dead controller could otherwise be given that very port and connect to itself.
LISTEN_PORTS = range(20_000, 32_000)


def wait_until(
    look: Callable[[], Value], timeout_s: float, what: str, *, until: Callable[[Value], object] = bool
) -> Value:
    """Return the first value seen for which `until` is true; after `timeout_s` raise with the last one seen."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        value = look()
        if until(value):
            return value
        if time.monotonic() >= deadline_s:
            raise TimeoutError(f"waited {timeout_s:g} s for {what}; last seen: {reprlib.repr(value)}")
        time.sleep(POLL_S)


def free_tcp_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on."""
    for _ in range(100):
        port = LISTEN_PORTS.start + secrets.randbelow(len(LISTEN_PORTS))
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no free TCP port found in 100 tries")

"""The least that a controller can be: one socket, no event loop, no policy; what it shows is the machine's own.

It spends as much time on each packet-in as vfswitch does when 64 wait at a time, so that half of its load leaves it
idle for as long, and answers with as many bytes.
Run `python -m benchmarks.bare_loop PORT`; it serves one connection on 127.0.0.1 and ends with it.
"""

from __future__ import annotations

import argparse
import socket
import time
from typing import Final

from benchmarks.openflow import HEADER, OF_14, Type, message

_WORK_NS: Final = 9_000
# Two flow-mods of 184 bytes and a packet-out would be so long.
_ANSWER_BYTES: Final = 500
_RECEIVE_BYTES: Final = 1 << 16


def serve(connection: socket.socket) -> None:
    """Answer every packet-in of a connection by one packet-out, until the peer ends it."""
    answer = message(OF_14, Type.PACKET_OUT, 0, bytes(_ANSWER_BYTES - HEADER.size))
    connection.sendall(message(OF_14, Type.HELLO, 0) + message(OF_14, Type.FEATURES_REQUEST, 1))
    rest = b""
    while received := connection.recv(_RECEIVE_BYTES):
        rest += received
        at = packet_ins = 0
        while len(rest) - at >= HEADER.size:
            _, kind, length, _ = HEADER.unpack_from(rest, at)
            if len(rest) - at < length:
                break
            if kind == Type.PACKET_IN:
                packet_ins += 1
                _work()
            at += length
        rest = rest[at:]
        if packet_ins:
            connection.sendall(answer * packet_ins)


def _work() -> None:
    until_ns = time.perf_counter_ns() + _WORK_NS
    while time.perf_counter_ns() < until_ns:
        pass


def main() -> None:
    """Serve one connection."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("port", type=int)
    with socket.create_server(("127.0.0.1", parser.parse_args().port)) as listener:
        connection, _ = listener.accept()
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        serve(connection)


if __name__ == "__main__":
    main()

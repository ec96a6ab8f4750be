"""Ends TCP connections in all ways: `tcp_end.py serve ADDRESS PORT` and `tcp_end.py close|half|reset ADDRESS PORT OWN`.

The server reads until the client says no more, sends 14 lines 0.3 s apart to who asked for them, and closes.
The client prints what it receives: `close` ends at once, `half` sends no more and reads on, `reset` breaks off.
"""

from __future__ import annotations

import socket
import struct
import sys
import time

LINES = 14
PAUSE_S = 0.3


def serve(address: str, port: int) -> None:
    """Serve one client after the other until ended."""
    with socket.create_server((address, port)) as listener:
        print("ready", flush=True)
        while True:
            client, _ = listener.accept()
            with client:
                asked = b""
                try:
                    client.sendall(b"hello\n")
                    while piece := client.recv(1024):
                        asked += piece
                except ConnectionResetError:
                    continue
                if asked == b"half\n":
                    for number in range(LINES):
                        time.sleep(PAUSE_S)
                        client.sendall(b"%d\n" % number)


def end(how: str, address: str, port: int, own_port: int) -> None:
    """Open a connection, wait for the greeting, end it in one way, and print what came."""
    client = socket.create_connection((address, port), timeout=10, source_address=("0.0.0.0", own_port))
    print(client.recv(6).decode(), end="", flush=True)
    client.sendall(how.encode() + b"\n")
    if how == "reset":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    else:
        client.shutdown(socket.SHUT_WR)
        while piece := client.recv(1024):
            print(piece.decode(), end="", flush=True)
    client.close()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2], int(sys.argv[3]))
    else:
        end(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))

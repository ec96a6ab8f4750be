"""Keeps one TCP connection talking to an echo server: tcp_talk.py ADDRESS PORT SOURCE_PORT COUNT INTERVAL_S TIMEOUT_S.

Prints "connected", then every number that came back with its arrival in ns.
A count of 0 goes on until ended from outside; a silence longer than the time-out ends it with status 1.
"""

import socket
import sys
import time
from itertools import count


def main(address: str, port: int, source_port: int, last: int, interval_s: float, timeout_s: float) -> None:
    """Send numbers one by one, each after the echo of the one before."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(timeout_s)
        connection.bind(("", source_port))
        connection.connect((address, port))
        print("connected", flush=True)
        lines = connection.makefile("rw")
        for number in range(1, last + 1) if last else count(1):
            lines.write(f"{number}\n")
            lines.flush()
            echoed = lines.readline()
            if not echoed:
                raise ConnectionError("the other side ended the connection")
            print(int(echoed), time.monotonic_ns(), flush=True)
            time.sleep(interval_s)


if __name__ == "__main__":
    try:
        main(
            sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]), float(sys.argv[6])
        )  # fmt: skip
    except KeyboardInterrupt:
        sys.exit(0)
    except OSError as error:
        print(f"failed: {error}", flush=True)
        sys.exit(1)

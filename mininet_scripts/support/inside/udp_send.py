"""Sends numbered UDP packets at a steady rate: udp_send.py ADDRESS PORT COUNT RATE_PPS SIZE SOURCE_PORT FIRST."""

import socket
import struct
import sys
import time
from contextlib import suppress


def main(address: str, port: int, count: int, rate_pps: float, size: int, source_port: int, first: int) -> None:
    """Send `count` packets numbered from `first`; a rate of 0 sends as fast as the socket takes them."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        sender.bind(("", source_port))
        sender.connect((address, port))
        begin_s = time.monotonic()
        for number in range(count):
            # Against a fixed schedule, so that a late packet does not delay all that follow.
            ahead_s = begin_s + number / rate_pps - time.monotonic() if rate_pps else 0.0
            if ahead_s > 0:
                time.sleep(ahead_s)
            # An ICMP error for an earlier packet shows here; the receiver's list tells what arrived.
            with suppress(ConnectionRefusedError):
                sender.send(struct.pack("!Q", first + number).ljust(size, b"\0"))
        print(f"sent {count}")


if __name__ == "__main__":
    main(
        sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]), int(sys.argv[6]),
        int(sys.argv[7]),
    )  # fmt: skip

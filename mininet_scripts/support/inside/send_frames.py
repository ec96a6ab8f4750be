"""Sends raw Ethernet frames, one per line of hexadecimal on standard input: send_frames.py INTERFACE."""

import socket
import sys


def main(interface: str) -> None:
    """Send every line as it is: no checks, no sums filled in, any source address."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind((interface, 0))
        for line in sys.stdin:
            sender.send(bytes.fromhex(line))


if __name__ == "__main__":
    main(sys.argv[1])

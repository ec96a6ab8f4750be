"""Sends one UDP packet and prints the error that comes back for it: udp_error.py ADDRESS PORT TTL TIMEOUT_S."""

import os
import socket
import sys

IP_RECVERR = 11  # linux/in.h: report every ICMP error, not only those that end a connection


def main(address: str, port: int, ttl: int, timeout_s: float) -> None:
    """Print the system's words for the error, or nothing when none came."""
    is_ipv6 = ":" in address
    with socket.socket(socket.AF_INET6 if is_ipv6 else socket.AF_INET, socket.SOCK_DGRAM) as sender:
        if not is_ipv6:
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
            sender.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        sender.settimeout(timeout_s)
        sender.connect((address, port))
        sender.send(b"anybody there?")
        try:
            sender.recv(64)
        except TimeoutError:
            return
        except OSError as error:
            print(os.strerror(error.errno or 0))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))

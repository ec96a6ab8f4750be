"""Prints one line per numbered UDP packet, number and arrival in ns: udp_receive.py ADDRESS PORT."""

import socket
import struct
import sys
import time


def main(address: str, port: int) -> None:
    """Print "ready" when listening, then every packet, until ended from outside."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        receiver.bind((address, port))
        print("ready", flush=True)
        while True:
            payload = receiver.recv(65536)
            sys.stdout.write(f"{struct.unpack_from('!Q', payload)[0]} {time.monotonic_ns()}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    try:
        main(sys.argv[1], int(sys.argv[2]))
    except KeyboardInterrupt:
        sys.exit(0)

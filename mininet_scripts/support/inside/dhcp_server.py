"""Offers every DHCP client one address (RFC 2131): dhcp_server.py INTERFACE OWN_IP OFFERED_IP."""

import socket
import struct
import sys

COOKIE = b"\x63\x82\x53\x63"
REPLIES = {1: 2, 3: 5}  # DISCOVER → OFFER, REQUEST → ACK


def main(interface: str, own_ip: str, offered_ip: str) -> None:
    """Print "ready", then the type of every message that is answered, until ended from outside."""
    own, offered = socket.inet_aton(own_ip), socket.inet_aton(offered_ip)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        server.bind(("", 67))
        print("ready", flush=True)
        while True:
            request = server.recv(2048)
            at = request.find(b"\x35\x01", 240)  # option 53, one byte: the message type
            if request[236:240] != COOKIE or at < 0 or request[at + 2] not in REPLIES:
                continue
            kind = request[at + 2]
            head = struct.pack("!BBBB", 2, 1, 6, 0) + request[4:12] + bytes(4) + offered + own + bytes(4)
            options = bytes([53, 1, REPLIES[kind], 54, 4]) + own + b"\x33\x04\x00\x00\x0e\x10\xff"
            reply = head + request[28:236] + COOKIE + options
            server.sendto(reply.ljust(300, b"\0"), ("255.255.255.255", 68))
            print(f"answered {kind}", flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2], sys.argv[3])
    except KeyboardInterrupt:
        sys.exit(0)

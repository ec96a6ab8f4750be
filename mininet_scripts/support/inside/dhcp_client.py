"""Gets an address by DHCP (RFC 2131), from a socket without one: dhcp_client.py INTERFACE TIMEOUT_S.

Prints the address that was acknowledged, or "none".
"""

import socket
import struct
import sys
import time

COOKIE = b"\x63\x82\x53\x63"
ETH_IPV4 = 0x0800
DISCOVER, OFFER, REQUEST, ACK = 1, 2, 3, 5


def message(kind: int, mac: bytes, options: bytes = b"") -> bytes:
    """Return a client's message, which asks for a broadcast answer."""
    head = struct.pack("!BBBBIHH", 1, 1, 6, 0, 0xFACADE, 0, 0x8000) + bytes(16) + mac.ljust(16, b"\0") + bytes(192)
    return head + COOKIE + bytes([53, 1, kind]) + options + b"\xff"


def frame(mac: bytes, payload: bytes) -> bytes:
    """Return a broadcast frame from 0.0.0.0:68 to port 67."""
    udp = struct.pack("!HHHH", 68, 67, 8 + len(payload), 0) + payload
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + bytes(4) + b"\xff" * 4
    total = sum(struct.unpack("!10H", ip))
    total = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return b"\xff" * 6 + mac + struct.pack("!H", ETH_IPV4) + ip[:10] + struct.pack("!H", total) + ip[12:] + udp


def answer(link: socket.socket, kind: int, until_s: float) -> bytes | None:
    """Return the server's message of a kind, None when none came in time."""
    while (left_s := until_s - time.monotonic()) > 0:
        link.settimeout(left_s)
        try:
            received = link.recv(2048)
        except TimeoutError:
            break
        is_reply = received[12:14] == b"\x08\x00" and received[23] == 17 and received[36:38] == b"\x00\x44"
        if is_reply and received[282:285] == bytes([53, 1, kind]):
            return received[42:]
    return None


def main(interface: str, timeout_s: float) -> None:
    """Ask, and take what is offered."""
    until_s = time.monotonic() + timeout_s
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_IPV4)) as link:
        link.bind((interface, ETH_IPV4))
        mac = link.getsockname()[4]
        link.send(frame(mac, message(DISCOVER, mac)))
        offer = answer(link, OFFER, until_s)
        if offer is not None:
            wanted = b"\x32\x04" + offer[16:20] + b"\x36\x04" + offer[20:24]
            link.send(frame(mac, message(REQUEST, mac, wanted)))
            offer = answer(link, ACK, until_s)
        print("none" if offer is None else socket.inet_ntoa(offer[16:20]))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))

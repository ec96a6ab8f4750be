"""Frames built byte by byte, so that they may say what no honest stack would."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

BROADCAST = "ff:ff:ff:ff:ff:ff"
IPV4, ARP, VLAN, IPV6 = 0x0800, 0x0806, 0x8100, 0x86DD
ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
# One that no protocol uses: IEEE Std 802, local experimental EtherType 1.
EXPERIMENTAL = 0x88B5


def mac_bytes(text: str) -> bytes:
    """Return the six bytes of a MAC address."""
    return bytes.fromhex(text.replace(":", ""))


def ethernet(dst: str, src: str, eth_type: int, payload: bytes, *, vlan: int | None = None) -> bytes:
    """Return a frame of at least 60 bytes, with one VLAN tag where a VLAN is given."""
    tag = b"" if vlan is None else struct.pack("!HH", VLAN, vlan)
    return (mac_bytes(dst) + mac_bytes(src) + tag + struct.pack("!H", eth_type) + payload).ljust(60, b"\0")


def arp(operation: int, sha: str, spa: str, tpa: str, *, tha: str = "00:00:00:00:00:00") -> bytes:
    """Return an ARP message for Ethernet and IPv4 (RFC 826); operation 1 asks, 2 answers."""
    sender, target = mac_bytes(sha) + IPv4Address(spa).packed, mac_bytes(tha) + IPv4Address(tpa).packed
    return struct.pack("!HHBBH", 1, IPV4, 6, 4, operation) + sender + target


def ipv4(src: str, dst: str, proto: int, payload: bytes, *, ttl: int = 64) -> bytes:
    """Return an IPv4 packet without options (RFC 791)."""
    ends = IPv4Address(src).packed + IPv4Address(dst).packed
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0x4000, ttl, proto, 0) + ends
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def ipv6(src: str, dst: str, proto: int, payload: bytes, *, hop_limit: int = 255) -> bytes:
    """Return an IPv6 packet without extension headers (RFC 8200)."""
    ends = IPv6Address(src).packed + IPv6Address(dst).packed
    return struct.pack("!IHBB", 6 << 28, len(payload), proto, hop_limit) + ends + payload


def udp(source_port: int, destination_port: int, payload: bytes = b"") -> bytes:
    """Return a UDP datagram that carries no checksum, as IPv4 allows (RFC 768)."""
    return struct.pack("!HHHH", source_port, destination_port, 8 + len(payload), 0) + payload


def icmpv4(kind: int, code: int, body: bytes) -> bytes:
    """Return an ICMP message (RFC 792)."""
    message = struct.pack("!BBH", kind, code, 0) + body
    return message[:2] + struct.pack("!H", checksum(message)) + message[4:]


def icmpv6(src: str, dst: str, kind: int, body: bytes) -> bytes:
    """Return an IPv6 packet with an ICMPv6 message of a type, code 0 (RFC 4443)."""
    message = struct.pack("!BBH", kind, 0, 0) + body
    pseudo = IPv6Address(src).packed + IPv6Address(dst).packed + struct.pack("!II", len(message), ICMPV6)
    total = struct.pack("!H", checksum(pseudo + message))
    return ipv6(src, dst, ICMPV6, message[:2] + total + message[4:])


def neighbour(kind: int, src: str, dst: str, target: str, option_mac: str) -> bytes:
    """Return a neighbour solicitation (135) or advertisement (136) with a link-layer option (RFC 4861)."""
    option = bytes([1 if kind == 135 else 2, 1]) + mac_bytes(option_mac)
    return icmpv6(src, dst, kind, bytes(4) + IPv6Address(target).packed + option)


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    padded = data + b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF

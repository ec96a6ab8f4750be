"""Frames built and read by plain struct packing, independent of the code under test."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final

BROADCAST: Final = "ff:ff:ff:ff:ff:ff"
ICMP, TCP, UDP, GRE, ICMPV6, SCTP = 1, 6, 17, 47, 58, 132
IPV4, ARP, VLAN, IPV6 = 0x0800, 0x0806, 0x8100, 0x86DD
SYN, SYN_ACK, ACK, FIN, RST = 0x02, 0x12, 0x10, 0x01, 0x04

# Where each transport's checksum stands, and whether the addresses enter into it.
_CHECKSUM_AT: Final = {ICMP: (2, False), TCP: (16, True), UDP: (6, True), ICMPV6: (2, True)}


def mac(text: str) -> bytes:
    """Return the six bytes of a MAC address."""
    return bytes.fromhex(text.replace(":", ""))


def ip(text: str) -> bytes:
    """Return the bytes of an IPv4 or IPv6 address."""
    return ip_address(text).packed


def ones_sum(data: bytes) -> int:
    """Return the one's complement sum of RFC 1071, 0xffff over a part whose checksum is right."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def _pseudo(src: bytes, dst: bytes, proto: int, length: int) -> bytes:
    return src + dst + struct.pack("!II", length, proto)


def ether(src: str, dst: str, eth_type: int, payload: bytes, vlan: int | None = None) -> bytes:
    """Return an Ethernet frame, with an 802.1Q tag where `vlan` is given."""
    tag = b"" if vlan is None else struct.pack("!HH", VLAN, vlan)
    return mac(dst) + mac(src) + tag + struct.pack("!H", eth_type) + payload


def tagged(frame: bytes, vlan: int) -> bytes:
    """Return a frame with an 802.1Q tag put on."""
    return frame[:12] + struct.pack("!HH", VLAN, vlan) + frame[12:]


def untagged(frame: bytes) -> bytes:
    """Return a frame without its 802.1Q tag."""
    return frame[:12] + frame[16:] if frame[12:14] == b"\x81\x00" else frame


def packet(
    src: str,
    dst: str,
    proto: int,
    payload: bytes,
    *,
    dscp: int = 0,
    ident: int = 0,
    offset: int = 0,
    more: bool = False,
    fragmented: bool = False,
) -> bytes:
    """Return an IPv4 or IPv6 packet; `offset` is in units of 8 bytes, as fragments count."""
    source, target = ip(src), ip(dst)
    if len(source) == 4:
        flags = (0x2000 if more else 0) | offset
        head = struct.pack("!BBHHHBBH", 0x45, dscp << 2, 20 + len(payload), ident, flags, 64, proto, 0)
        checksum = ~ones_sum(head + source + target) & 0xFFFF
        return head[:10] + struct.pack("!H", checksum) + source + target + payload
    if fragmented or more or offset:
        payload = struct.pack("!BxHI", proto, offset << 3 | more, ident) + payload
        proto = 44
    return struct.pack("!IHBB", 6 << 28 | dscp << 22, len(payload), proto, 64) + source + target + payload


def transport(src: str, dst: str, proto: int, payload: bytes) -> bytes:
    """Return a transport header and its data with the checksum filled in."""
    if proto not in _CHECKSUM_AT:
        return payload
    at, covers_addresses = _CHECKSUM_AT[proto]
    head = _pseudo(ip(src), ip(dst), proto, len(payload)) if covers_addresses else b""
    checksum = ~ones_sum(head + payload) & 0xFFFF
    return payload[:at] + struct.pack("!H", checksum or 0xFFFF) + payload[at + 2 :]


def tcp(sport: int, dport: int, data: bytes = b"", flags: int = SYN) -> bytes:
    """Return a TCP segment without its checksum."""
    return struct.pack("!HHIIBBHHH", sport, dport, 1, 0, 0x50, flags, 64240, 0, 0) + data


def udp(sport: int, dport: int, data: bytes = b"") -> bytes:
    """Return a UDP datagram without its checksum."""
    return struct.pack("!HHHH", sport, dport, 8 + len(data), 0) + data


def sctp(sport: int, dport: int, data: bytes = b"") -> bytes:
    """Return an SCTP packet of a common header and one chunk, its CRC32c filled in (RFC 9260, appendix A)."""
    packed = struct.pack("!HHII", sport, dport, 7, 0) + data.ljust(4, b"\0")
    return packed[:8] + _crc32c(packed) + packed[12:]


def _crc32c(data: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return struct.pack("<I", crc ^ 0xFFFFFFFF)


def icmp(kind: int, code: int = 0, data: bytes = b"", rest: int = 0) -> bytes:
    """Return an ICMP or ICMPv6 message without its checksum."""
    return struct.pack("!BBHI", kind, code, 0, rest) + data


def arp(
    op: int, sha: str, spa: str, tpa: str, *, tha: str = "00:00:00:00:00:00", eth_src: str = "", eth_dst: str = ""
) -> bytes:
    """Return an ARP frame: op 1 asks, by broadcast unless told otherwise, and 2 answers."""
    body = struct.pack("!HHBBH", 1, IPV4, 6, 4, op) + mac(sha) + ip(spa) + mac(tha) + ip(tpa)
    return ether(eth_src or sha, eth_dst or (BROADCAST if op == 1 else tha), ARP, body)


def link_local(address: str) -> str:
    """Return the link-local address of a MAC (RFC 4291, modified EUI-64)."""
    raw = mac(address)
    return str(IPv6Address(b"\xfe\x80" + bytes(6) + bytes([raw[0] ^ 2]) + raw[1:3] + b"\xff\xfe" + raw[3:]))


def multicast_mac(group: str) -> str:
    """Return the MAC address of an IPv6 group (RFC 2464, section 7)."""
    return "33:33:" + ip(group)[12:].hex(":")


def solicited(address: str) -> str:
    """Return the solicited-node group of an address (RFC 4291, section 2.7.1)."""
    return str(IPv6Address(ip("ff02::1:ff00:0")[:13] + ip(address)[13:]))


def icmpv6(
    src_mac: str, src: str, dst: str, kind: int, body: bytes, *, code: int = 0, dst_mac: str = "", rest: int = 0
) -> bytes:
    """Return an ICMPv6 frame with its checksum, to the group's MAC unless told otherwise."""
    message = transport(src, dst, ICMPV6, icmp(kind, code, body, rest))
    return ether(src_mac, dst_mac or multicast_mac(dst), IPV6, packet(src, dst, ICMPV6, message))


def option(kind: int, address: str) -> bytes:
    """Return a link-layer address option of neighbour discovery: 1 for the source, 2 for the target."""
    return bytes([kind, 1]) + mac(address)


def dhcp(src_mac: str, sport: int, dport: int, *, src: str = "0.0.0.0", dst: str = "255.255.255.255") -> bytes:
    """Return a DHCP frame by broadcast, or by multicast for IPv6 addresses."""
    target = multicast_mac(dst) if ":" in dst else BROADCAST
    data = transport(src, dst, UDP, udp(sport, dport, bytes(240)))
    return ether(src_mac, target, IPV6 if ":" in dst else IPV4, packet(src, dst, UDP, data))


@dataclass(frozen=True, kw_only=True)
class Read:
    """A frame as read back from a capture."""

    eth_src: str
    eth_dst: str
    vlan: int | None
    eth_type: int
    src: str = ""
    dst: str = ""
    proto: int = -1
    dscp: int = 0
    sport: int = 0
    dport: int = 0
    wrong_checksums: tuple[str, ...] = ()
    body: bytes = field(default=b"", repr=False)

    def headers(self) -> dict[str, object]:
        """Return what a policy can edit."""
        return {name: getattr(self, name) for name in ("eth_src", "eth_dst", "src", "dst", "dscp", "sport", "dport")}


def read(frame: bytes) -> Read:
    """Return the headers of a frame and which of its checksums are wrong."""
    vlan = struct.unpack_from("!H", frame, 14)[0] & 0xFFF if frame[12:14] == b"\x81\x00" else None
    frame = untagged(frame)
    eth_type = struct.unpack_from("!H", frame, 12)[0]
    ends: dict[str, Any] = {"eth_src": frame[6:12].hex(":"), "eth_dst": frame[:6].hex(":")}
    if eth_type == IPV4:
        return _read_ipv4(frame, vlan, ends)
    if eth_type == IPV6:
        return _read_ipv6(frame, vlan, ends)
    return Read(**ends, vlan=vlan, eth_type=eth_type, body=frame[14:])


def _read_ipv4(frame: bytes, vlan: int | None, ends: dict[str, Any]) -> Read:
    header = (frame[14] & 15) * 4
    total, flags = struct.unpack_from("!H", frame, 16)[0], struct.unpack_from("!H", frame, 20)[0]
    wrong = ["ipv4"] if ones_sum(frame[14 : 14 + header]) != 0xFFFF else []
    body, proto, whole = frame[14 + header : 14 + total], frame[23], not flags & 0x3FFF
    source, target = frame[26:30], frame[30:34]
    wrong += _wrong(source, target, proto, body) if whole else []
    sport, dport = _ports(proto, body) if not flags & 0x1FFF else (0, 0)
    return Read(
        **ends, vlan=vlan, eth_type=IPV4, src=str(IPv4Address(source)), dst=str(IPv4Address(target)), proto=proto,
        dscp=frame[15] >> 2, sport=sport, dport=dport, wrong_checksums=tuple(wrong), body=body,
    )  # fmt: skip


def _read_ipv6(frame: bytes, vlan: int | None, ends: dict[str, Any]) -> Read:
    word, length, proto = struct.unpack_from("!IHB", frame, 14)
    body, source, target = frame[54 : 54 + length], frame[22:38], frame[38:54]
    first, whole = True, True
    if proto == 44:
        proto, offset = struct.unpack_from("!BxH", body)
        first, whole, body = not offset & 0xFFF8, False, body[8:]
    sport, dport = _ports(proto, body) if first else (0, 0)
    return Read(
        **ends, vlan=vlan, eth_type=IPV6, src=str(IPv6Address(source)), dst=str(IPv6Address(target)), proto=proto,
        dscp=word >> 22 & 63, sport=sport, dport=dport, body=body,
        wrong_checksums=tuple(_wrong(source, target, proto, body)) if whole else (),
    )  # fmt: skip


def _ports(proto: int, body: bytes) -> tuple[int, int]:
    if proto in (TCP, UDP, SCTP):
        sport, dport = struct.unpack_from("!HH", body)
        return sport, dport
    return 0, 0


def _wrong(source: bytes, target: bytes, proto: int, body: bytes) -> Iterator[str]:
    if proto in _CHECKSUM_AT:
        head = _pseudo(source, target, proto, len(body)) if _CHECKSUM_AT[proto][1] else b""
        if ones_sum(head + body) != 0xFFFF:
            yield f"protocol {proto}"
    elif proto == SCTP and body[8:12] != _crc32c(body[:8] + bytes(4) + body[12:]):
        yield f"protocol {proto}"

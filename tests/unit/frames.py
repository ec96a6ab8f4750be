"""Whole frames made from flow keys, with right lengths and checksums."""

from __future__ import annotations

import struct

from ryu_apps.model.fields import FIELDS
from ryu_apps.model.flow_key import Family, FlowKey, customer_tag

_TCP, _UDP, _ICMP, _ICMPV6, _SCTP = 6, 17, 1, 58, 132
_CHECKSUM_AT = {_TCP: 16, _UDP: 6, _ICMP: 2, _ICMPV6: 2}


def checksum(data: bytes) -> int:
    """Return the Internet checksum of some bytes, word by word (RFC 1071)."""
    total = 0
    for at in range(0, len(data) + len(data) % 2, 2):
        total += int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big")
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def frame_of(key: FlowKey, payload: bytes = b"", options: bytes = b"") -> bytes:
    """Return the frame of a packet with this key, tagged with a customer's VLAN alone; IPv4 options: whole words."""
    if key.family not in (Family.IPV4, Family.IPV6, Family.ND):
        raise ValueError(f"{key.family.name} is not made here")
    values = {name: field.get(key) for name, field in FIELDS.items() if key.family in field.shifts}
    bits = key.bits
    proto = bits >> (104 if key.family is Family.IPV4 else 296) & 0xFF
    first, second = bits >> 16 & 0xFFFF, bits & 0xFFFF
    transport = _transport(proto, first, second, payload)
    dscp = bits >> (96 if key.family is Family.IPV4 else 288) & 0x3F
    if key.family is Family.IPV4:
        packet = _ipv4(values["ipv4_src"], values["ipv4_dst"], proto, dscp, transport, options)
    else:
        packet = _ipv6(bits >> 160 & (1 << 128) - 1, bits >> 32 & (1 << 128) - 1, proto, dscp, transport)
    return (
        values["eth_dst"].to_bytes(6, "big")
        + values["eth_src"].to_bytes(6, "big")
        + (struct.pack("!HH", 0x8100, tag & 0xFFF) if (tag := customer_tag(key)) else b"")
        + values["eth_type"].to_bytes(2, "big")
        + packet
    )


def _transport(proto: int, first: int, second: int, payload: bytes) -> bytes:
    if proto == _TCP:
        return struct.pack("!HHIIBBHHH", first, second, 1, 0, 0x50, 2, 1000, 0, 0) + payload
    if proto == _UDP:
        return struct.pack("!HHHH", first, second, 8 + len(payload), 0) + payload
    if proto == _SCTP:
        return struct.pack("!HHII", first, second, 1, 0) + payload
    if proto in (_ICMP, _ICMPV6):
        return struct.pack("!BBHI", first, second, 0, 7) + payload
    return payload


def _ipv4(src: int, dst: int, proto: int, dscp: int, transport: bytes, options: bytes) -> bytes:
    length = 20 + len(options)
    head = struct.pack(
        "!BBHHHBBHII", 0x40 | length // 4, dscp << 2, length + len(transport), 7, 0, 64, proto, 0, src, dst
    )
    head += options
    head = head[:10] + checksum(head).to_bytes(2, "big") + head[12:]
    pseudo = head[12:20] + struct.pack("!HH", proto, len(transport))
    return head + _summed(proto, transport, b"" if proto == _ICMP else pseudo)


def _ipv6(src: int, dst: int, proto: int, dscp: int, transport: bytes) -> bytes:
    addresses = src.to_bytes(16, "big") + dst.to_bytes(16, "big")
    head = struct.pack("!IHBB", 6 << 28 | dscp << 22, len(transport), proto, 64) + addresses
    return head + _summed(proto, transport, addresses + struct.pack("!II", len(transport), proto))


def _summed(proto: int, transport: bytes, pseudo: bytes) -> bytes:
    """Return a transport packet with its checksum in place; UDP writes zero as all ones (RFC 768)."""
    at = _CHECKSUM_AT.get(proto)
    if at is None:
        return transport
    found = checksum(pseudo + transport)
    return transport[:at] + (found or (0xFFFF if proto == _UDP else 0)).to_bytes(2, "big") + transport[at + 2 :]

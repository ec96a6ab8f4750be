"""The flow key: the header tuple of one packet, packed into one integer.

A key is one integer of fixed layout per family, so that masking, editing and comparing cost one operation each.
The layout in bytes, most significant first:

====== =======================================================================================
family fields
====== =======================================================================================
LINK   eth_dst 6, eth_src 6, vlan_vid 2, eth_type 2
IPV4   LINK, ip_proto 1, ip_dscp 1, ipv4_src 4, ipv4_dst 4, l4_src 2, l4_dst 2
IPV6   LINK, ip_proto 1, ip_dscp 1, ipv6_src 16, ipv6_dst 16, l4_src 2, l4_dst 2
ARP    LINK, arp_op 1, zero 1, arp_spa 4, arp_tpa 4, zero 4
ND     as IPV6: the messages of neighbour discovery, which like ARP are a family of their own
====== =======================================================================================

ICMP has its type in l4_src and its code in l4_dst.
vlan_vid carries OpenFlow's present bit 0x1000 (OpenFlow 1.4.0, section 7.2.3.7), and is 0 for an untagged packet.
CUSTOMER_TAG is set too for a customer's tag, which stays on the packet in the pipeline; a trunk's is taken off.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final, NamedTuple

ETH_IPV4: Final = 0x0800
ETH_ARP: Final = 0x0806
TAG_BYTES: Final = 4
ETH_VLAN: Final = 0x8100
ETH_IPV6: Final = 0x86DD

PROTO_ICMP: Final = 1
PROTO_TCP: Final = 6
PROTO_UDP: Final = 17
TCP_FIN, TCP_SYN, TCP_RST, TCP_ACK = 0x01, 0x02, 0x04, 0x10
"""TCP flags (RFC 9293 section 3.1)."""
PROTO_ICMPV6: Final = 58
PROTO_SCTP: Final = 132
PROTOS_WITH_PORTS: Final = frozenset({PROTO_TCP, PROTO_UDP, PROTO_SCTP})

VLAN_PRESENT: Final = 0x1000
CUSTOMER_TAG: Final = 0x2000

# IPv6 extension headers that may stand before the payload (RFC 8200 section 4.1), fragment header apart.
# Exactly those that Open vSwitch passes over: a key must name the protocol that the switch will match on.
_V6_EXTENSIONS: Final = frozenset({0, 43, 60})
_V6_FRAGMENT: Final = 44
_V6_AUTH: Final = 51
_MAX_EXTENSIONS: Final = 8
# An LLC header that announces an Ethernet type (RFC 1042): Open vSwitch looks behind it, hosts do not send it.
_SNAP: Final = b"\xaa\xaa\x03\x00\x00\x00"


class Family(IntEnum):
    """Which layout a key has."""

    LINK = 0
    IPV4 = 1
    IPV6 = 2
    ARP = 3
    ND = 4


KEY_BYTES: Final = {Family.LINK: 16, Family.IPV4: 30, Family.IPV6: 54, Family.ARP: 30, Family.ND: 54}

# Router and neighbour messages and redirects (RFC 4861 section 4).
ND_TYPES: Final = frozenset(range(133, 138))


class FlowKey(NamedTuple):
    """The header tuple of one packet: its family and its packed fields."""

    family: Family
    bits: int


class Parsed(NamedTuple):
    """A frame as parsed: the key, and what of it cannot stand in an exact entry.

    fragment is 0 for a whole datagram, 1 for a first fragment and 2 for a later one.
    ip_id is the identification of a fragment's datagram, 0 for a whole one.
    l4_offset is where the transport header begins, 0 when there is none in this frame.
    """

    key: FlowKey
    fragment: int
    ip_id: int
    l4_offset: int


_V4 = struct.Struct("!12xHBBHHHxBHII")
_PORTS = struct.Struct("!HH")
# The least that a transport header takes (RFC 9293, RFC 768, RFC 9260, RFC 792, RFC 4443).
_HEADER_BYTES: Final = {PROTO_TCP: 20, PROTO_UDP: 8, PROTO_SCTP: 12, PROTO_ICMP: 8, PROTO_ICMPV6: 8}


def parse(frame: bytes, vlan_vid: int = 0) -> Parsed | None:
    """Return the parsed headers of an Ethernet frame, None when it is malformed.

    vlan_vid is what the key shall carry as VLAN; the pipeline removes its own tags before it asks.
    One tag more is a customer's, on a packet that has none of a trunk.
    Malformed means: shorter than its headers say, an impossible header length, a tag too much, or IP dressed as LLC.
    What Open vSwitch would not read as the same fields is malformed too: no entry could match it.
    """
    if len(frame) < 14:
        return None
    eth_type = frame[12] << 8 | frame[13]
    if eth_type == ETH_IPV4:
        return _parse_ipv4(frame, vlan_vid)
    if eth_type == ETH_IPV6:
        return _parse_ipv6(frame, vlan_vid)
    if eth_type == ETH_ARP:
        return _parse_arp(frame, vlan_vid)
    if eth_type == ETH_VLAN and not vlan_vid:
        return _parse_tagged(frame)
    if eth_type in (ETH_VLAN, 0x88A8) or (eth_type < 0x600 and frame[14:20] == _SNAP):
        return None
    # Below 0x600 the field is an 802.3 length; OpenFlow matches such frames as 0x5ff (OpenFlow 1.4.0, section 7.2.3.7).
    link = int.from_bytes(frame[:12], "big") << 32 | vlan_vid << 16 | (eth_type if eth_type >= 0x600 else 0x5FF)
    return Parsed(FlowKey(Family.LINK, link), 0, 0, 0)


def _parse_tagged(frame: bytes) -> Parsed | None:
    """Return the parsed headers of a frame with one customer tag; VLAN 0, priority alone, is none."""
    if len(frame) < 18:
        return None
    vid = (frame[14] << 8 | frame[15]) & 0xFFF
    parsed = parse(frame[:12] + frame[16:], CUSTOMER_TAG | VLAN_PRESENT | vid) if vid else None
    if parsed is None or not parsed.l4_offset:
        return parsed
    return parsed._replace(l4_offset=parsed.l4_offset + TAG_BYTES)


_VLAN_SHIFT: Final = {Family.LINK: 16, Family.IPV4: 128, Family.IPV6: 320, Family.ARP: 128, Family.ND: 320}


def customer_tag(key: FlowKey) -> int:
    """Return the VLAN of the tag that a packet carries in the pipeline, with the present bit, 0 for none."""
    vlan = key.bits >> _VLAN_SHIFT[key.family] & 0xFFFF
    return vlan & 0x1FFF if vlan & CUSTOMER_TAG else 0


def with_customer_tag(key: FlowKey) -> FlowKey:
    """Return the key with its VLAN, if it has one, taken as a customer's."""
    shift = _VLAN_SHIFT[key.family]
    return FlowKey(key.family, key.bits | CUSTOMER_TAG << shift) if key.bits >> shift & VLAN_PRESENT else key


def _parse_ipv4(frame: bytes, vlan_vid: int) -> Parsed | None:
    size = len(frame)
    if size < 34:
        return None
    _, vihl, tos, total, ip_id, offset, proto, _, src, dst = _V4.unpack_from(frame)
    header = (vihl & 0x0F) * 4
    l4 = 14 + header
    if vihl >> 4 != 4 or header < 20 or total < header or 14 + total > size:
        return None
    fragment = 0
    if offset & 0x3FFF:
        fragment = 2 if offset & 0x1FFF else 1
    ports = _transport(frame, proto, PROTO_ICMP, l4, 14 + total) if fragment != 2 else (0, 0)
    if ports is None:
        return None
    link = int.from_bytes(frame[:12], "big") << 32 | vlan_vid << 16 | ETH_IPV4
    bits = link << 112 | proto << 104 | (tos >> 2) << 96 | src << 64 | dst << 32 | ports[0] << 16 | ports[1]
    return Parsed(FlowKey(Family.IPV4, bits), fragment, ip_id if fragment else 0, 0 if fragment == 2 else l4)


def _transport(frame: bytes, proto: int, icmp: int, l4: int, end: int) -> tuple[int, int] | None:
    """Return the two 16-bit transport fields of a key, None when the header is cut short; icmp is the IP version's."""
    if proto in PROTOS_WITH_PORTS:
        if end - l4 < _HEADER_BYTES[proto]:
            return None
        # Open vSwitch reads no ports where the TCP data offset is below 5 words or beyond the packet.
        if proto == PROTO_TCP and not 20 <= frame[l4 + 12] >> 2 & 0x3C <= end - l4:
            return None
        sport, dport = _PORTS.unpack_from(frame, l4)
        return sport, dport
    if proto == icmp:
        if end - l4 < _HEADER_BYTES[proto]:
            return None
        return frame[l4], frame[l4 + 1]
    return 0, 0


def _parse_ipv6(frame: bytes, vlan_vid: int) -> Parsed | None:
    size = len(frame)
    if size < 54 or frame[14] >> 4 != 6:
        return None
    end = 54 + (frame[18] << 8 | frame[19])
    if end > size:
        return None
    proto, l4 = frame[20], 54
    fragment = ip_id = 0
    for _ in range(_MAX_EXTENSIONS):
        if proto == _V6_FRAGMENT:
            if l4 + 8 > end:
                return None
            offset = frame[l4 + 2] << 8 | frame[l4 + 3]
            if offset & 0xFFF9:
                fragment = 2 if offset & 0xFFF8 else 1
                ip_id = int.from_bytes(frame[l4 + 4 : l4 + 8], "big")
            proto, l4 = frame[l4], l4 + 8
            if fragment == 2:
                break
        elif proto in _V6_EXTENSIONS or proto == _V6_AUTH:
            if l4 + 8 > end:
                return None
            length = (frame[l4 + 1] + 2) * 4 if proto == _V6_AUTH else (frame[l4 + 1] + 1) * 8
            proto, l4 = frame[l4], l4 + length
            if l4 > end:
                return None
        else:
            break
    else:
        return None
    ports = _transport(frame, proto, PROTO_ICMPV6, l4, end) if fragment != 2 else (0, 0)
    if ports is None:
        return None
    dscp = (frame[14] << 8 | frame[15]) >> 6 & 0x3F
    link = int.from_bytes(frame[:12], "big") << 32 | vlan_vid << 16 | ETH_IPV6
    bits = link << 304 | proto << 296 | dscp << 288 | int.from_bytes(frame[22:54], "big") << 32
    family = Family.ND if proto == PROTO_ICMPV6 and ports[0] in ND_TYPES else Family.IPV6
    key = FlowKey(family, bits | ports[0] << 16 | ports[1])
    return Parsed(key, fragment, ip_id, 0 if fragment == 2 else l4)


def _parse_arp(frame: bytes, vlan_vid: int) -> Parsed | None:
    # Hardware Ethernet, protocol IPv4, lengths 6 and 4 (RFC 826).
    if len(frame) < 42 or frame[14:20] != b"\x00\x01\x08\x00\x06\x04" or frame[20]:
        return None
    link = int.from_bytes(frame[:12], "big") << 32 | vlan_vid << 16 | ETH_ARP
    addresses = int.from_bytes(frame[28:32] + frame[38:42], "big")
    return Parsed(FlowKey(Family.ARP, link << 112 | frame[21] << 104 | addresses << 32), 0, 0, 0)


_ICMP_PAIR: Final = {8: 0, 0: 8, 13: 14, 14: 13, 15: 16, 16: 15, 17: 18, 18: 17}
_ICMPV6_PAIR: Final = {128: 129, 129: 128}


def reverse(key: FlowKey) -> FlowKey:
    """Return the key of a reply: addresses, MACs and transport ports exchanged.

    ICMP queries become their replies (RFC 792, RFC 4443 section 4); DSCP and VLAN stay.
    """
    family, bits = key
    if family is Family.IPV4:
        return FlowKey(family, _reverse_ip(bits, 32, PROTO_ICMP, _ICMP_PAIR))
    if family is Family.IPV6 or family is Family.ND:
        return FlowKey(family, _reverse_ip(bits, 128, PROTO_ICMPV6, _ICMPV6_PAIR))
    if family is Family.LINK:
        return FlowKey(family, _swap_macs(bits, 32))
    arp = bits & ~(0xFFFFFFFFFFFFFFFF << 32)
    swapped = (bits >> 64 & 0xFFFFFFFF) << 32 | (bits >> 32 & 0xFFFFFFFF) << 64
    return FlowKey(family, _swap_macs(arp | swapped, 144))


def _swap_macs(bits: int, shift: int) -> int:
    low = bits & ((1 << shift) - 1)
    dst, src = bits >> (shift + 48), bits >> shift & 0xFFFFFFFFFFFF
    return (src << 48 | dst) << shift | low


def _reverse_ip(bits: int, width: int, icmp: int, pairs: dict[int, int]) -> int:
    full = (1 << width) - 1
    sport, dport = bits >> 16 & 0xFFFF, bits & 0xFFFF
    src, dst = bits >> (32 + width) & full, bits >> 32 & full
    above = bits >> (32 + 2 * width)
    mac_dst, mac_src = above >> 96, above >> 48 & 0xFFFFFFFFFFFF
    if above >> 8 & 0xFF == icmp:
        sport, dport = dport, pairs.get(sport, sport)
    return (
        (mac_src << 96 | mac_dst << 48 | above & 0xFFFFFFFFFFFF) << (32 + 2 * width)
        | dst << (32 + width)
        | src << 32
        | dport << 16
        | sport
    )

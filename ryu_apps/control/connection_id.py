"""What all packets of one connection have in common, whichever way they go."""

from __future__ import annotations

from typing import Final

from ryu_apps.model.fields import FIELDS
from ryu_apps.model.flow_key import CUSTOMER_TAG, PROTO_ICMP, PROTO_ICMPV6, Family, FlowKey, customer_tag

# ICMP queries and their replies (RFC 792, RFC 4443): who asks stands first, so that two hosts may ask each other.
_REPLIES: Final = {PROTO_ICMP: {0: 8, 14: 13, 16: 15, 18: 17}, PROTO_ICMPV6: {129: 128}}
_TAGGED_IPV4: Final = CUSTOMER_TAG << FIELDS["vlan_vid"].shifts[Family.IPV4]
_QUERIES: Final = {proto: frozenset(pairs.values()) for proto, pairs in _REPLIES.items()}


def head_of(segment: int, proto: int) -> int:
    """Return what the ids of a segment's IPv4 connections of a protocol with ports have in common.

    The lower end and the higher end, each address and port, make up the 96 bits below.
    """
    return (segment << 12 | 0x100 | proto) << 96


def connection_id(segment: int, key: FlowKey) -> int:
    """Return one number for a connection: segment, protocol and both ends, equal for a packet and its reply.

    MACs, DSCP and a trunk's VLAN are not part of it; a customer's VLAN is, because addresses repeat in others.
    """
    family, bits = key
    if family is Family.IPV4:
        if bits & _TAGGED_IPV4:
            segment |= customer_tag(key) << 16
        source = (bits >> 64 & 0xFFFFFFFF) << 16 | bits >> 16 & 0xFFFF
        target = (bits >> 32 & 0xFFFFFFFF) << 16 | bits & 0xFFFF
        proto = bits >> 104 & 0xFF
        if proto == PROTO_ICMP:
            return _icmp(segment << 12 | proto, source, target, 48, PROTO_ICMP)
        if source > target:
            source, target = target, source
        return ((segment << 12 | 0x100 | proto) << 48 | source) << 48 | target
    segment |= customer_tag(key) << 16
    if family is Family.LINK:
        mac_dst, mac_src = bits >> 80, bits >> 32 & 0xFFFFFFFFFFFF
        low, high = sorted((mac_dst, mac_src))
        return ((segment << 12 | 0xF00) << 48 | low) << 64 | high << 16 | bits & 0xFFFF
    full = (1 << 128) - 1
    source = (bits >> 160 & full) << 16 | bits >> 16 & 0xFFFF
    target = (bits >> 32 & full) << 16 | bits & 0xFFFF
    proto = bits >> 296 & 0xFF
    if proto == PROTO_ICMPV6:
        return _icmp(segment << 12 | 0x600 | proto, source, target, 144, PROTO_ICMPV6)
    if source > target:
        source, target = target, source
    return ((segment << 12 | 0x600 | proto) << 144 | source) << 144 | target


def _icmp(head: int, source: int, target: int, width: int, proto: int) -> int:
    kind, code = source & 0xFFFF, target & 0xFFFF
    source, target = source >> 16, target >> 16
    asked = _REPLIES[proto].get(kind)
    if asked is not None:
        kind, source, target = asked, target, source
    elif kind not in _QUERIES[proto] and source > target:
        source, target = target, source
    return ((head << width | source << 16 | kind) << width) | target << 16 | code

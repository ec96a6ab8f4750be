"""ICMP errors: they belong to the connection whose packet they quote (RFC 792, RFC 4443 section 3)."""

from __future__ import annotations

from typing import Final

from ryu_apps.model.flow_key import (
    ETH_IPV4,
    ETH_IPV6,
    PROTO_ICMP,
    PROTO_ICMPV6,
    PROTOS_WITH_PORTS,
    Family,
    FlowKey,
    Parsed,
)

# Unreachable, source quench, time exceeded, parameter problem; RFC 4443: unreachable, too big, time, parameter.
_ERRORS: Final = {Family.IPV4: (PROTO_ICMP, {3, 4, 11, 12}), Family.IPV6: (PROTO_ICMPV6, {1, 2, 3, 4})}


def is_icmp_error(key: FlowKey) -> bool:
    """Return whether a key is that of an ICMP error message."""
    wanted = _ERRORS.get(key.family)
    if wanted is None:
        return False
    proto = key.bits >> (104 if key.family is Family.IPV4 else 296) & 0xFF
    return proto == wanted[0] and (key.bits >> 16 & 0xFFFF) in wanted[1]


def quoted_key(frame: bytes, parsed: Parsed) -> FlowKey | None:
    """Return the key of the packet that an ICMP error quotes, without MACs; None when too little is quoted.

    Only the first 8 bytes behind the quoted IP header need be there (RFC 792), so ports are read and no more.
    """
    inner = parsed.l4_offset + 8
    if parsed.key.family is Family.IPV4:
        if len(frame) < inner + 20 or frame[inner] >> 4 != 4:
            return None
        proto, l4 = frame[inner + 9], inner + (frame[inner] & 0x0F) * 4
        ends, eth_type, family, width = frame[inner + 12 : inner + 20], ETH_IPV4, Family.IPV4, 64
    else:
        if len(frame) < inner + 40 or frame[inner] >> 4 != 6:
            return None
        proto, l4 = frame[inner + 6], inner + 40
        ends, eth_type, family, width = frame[inner + 8 : inner + 40], ETH_IPV6, Family.IPV6, 256
    if len(frame) < l4 + 4:
        return None
    ports = 0
    if proto in PROTOS_WITH_PORTS:
        ports = int.from_bytes(frame[l4 : l4 + 4], "big")
    elif proto in (PROTO_ICMP, PROTO_ICMPV6):
        ports = frame[l4] << 16 | frame[l4 + 1]
    head = (eth_type << 8 | proto) << 8
    return FlowKey(family, (head << width | int.from_bytes(ends, "big")) << 32 | ports)

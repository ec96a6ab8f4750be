"""ICMP errors: they belong to the connection whose packet they quote (RFC 792, RFC 4443 section 3)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from ryu_apps.control.unified_flow import UnifiedFlow
from ryu_apps.control.variant import same_ends
from ryu_apps.engine.ruling import Verdict
from ryu_apps.model.fields import FIELDS
from ryu_apps.model.flow_key import (
    ETH_IPV4,
    ETH_IPV6,
    PROTO_ICMP,
    PROTO_ICMPV6,
    PROTOS_WITH_PORTS,
    Family,
    FlowKey,
    Parsed,
    customer_tag,
)
from ryu_apps.model.rules import Direction

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

    A customer's tag is taken to be that of the error.
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
    tag = FIELDS["vlan_vid"].get(parsed.key) if customer_tag(parsed.key) else 0
    head = ((tag << 16 | eth_type) << 8 | proto) << 8
    return FlowKey(family, (head << width | int.from_bytes(ends, "big")) << 32 | ports)


def verdict_on_error(
    flow: UnifiedFlow, vport: int, direction: Direction, error: FlowKey, quoted: FlowKey
) -> Verdict | None:
    """Return the verdict that an ICMP error at a vport shares with its connection, None when it is none of it.

    It must quote a packet that passed the vport the other way, and go to the one that sent it: otherwise any VM could
    send anything anywhere by quoting a packet of its own.
    """
    if not flow.plan.allow or not _goes_to_sender(error, quoted):
        return None
    passed, verdict = False, None
    for leg, seen in flow.legs():
        if leg.vport == vport and leg.direction is direction:
            verdict = replace(leg.verdict, treatment=flow.own_treatment(leg.verdict.treatment))
        elif leg.vport == vport and leg.verdict.allow:
            passed = passed or same_ends(leg.verdict.edit.apply(seen), quoted)
    return verdict if passed else None


def _goes_to_sender(error: FlowKey, quoted: FlowKey) -> bool:
    width = 32 if error.family is Family.IPV4 else 128
    return error.family is quoted.family and not (error.bits >> 32 ^ quoted.bits >> 32 + width) & (1 << width) - 1

"""A transposition carried out on the bytes of a frame, for packets that the controller forwards itself."""

from __future__ import annotations

import struct

from ryu_apps.engine.checksum import checksum, updated, word_sum
from ryu_apps.model.flow_key import (
    ETH_VLAN,
    PROTO_ICMPV6,
    PROTO_TCP,
    PROTO_UDP,
    TAG_BYTES,
    Family,
    FlowKey,
    Parsed,
    customer_tag,
)
from ryu_apps.model.transposition import Transposition, transposition

# Where the checksum of a transport header stands, and whether addresses enter into it (RFC 793, 768, 4443).
_CHECKSUM_AT = {PROTO_TCP: 16, PROTO_UDP: 6, PROTO_ICMPV6: 2}


def rewrite(frame: bytes, parsed: Parsed, edit: Transposition) -> bytes:
    """Return the frame with the edit made and all checksums right; a later fragment has only its IP header edited.

    SCTP's CRC32c covers no addresses, so a port change alone is left to the receiver as Open vSwitch leaves it.
    """
    edits = dict(edit.on(parsed.key))
    if not edits:
        return frame
    if "vlan_vid" in edits or customer_tag(parsed.key):
        tag, plain, bare = take_tag(frame, parsed)
        rest = Transposition(tuple(pair for pair in edit.edits if pair[0] != "vlan_vid"))
        return put_tag(rewrite(plain, bare, rest), tag, edit)
    out = bytearray(frame)
    _set_macs(out, edits)
    if parsed.key.family is Family.IPV4:
        words = _edit_ipv4(out, edits)
        _edit_transport(out, parsed, edits, words)
    elif parsed.key.family in (Family.IPV6, Family.ND):
        words = _edit_ipv6(out, edits)
        _edit_transport(out, parsed, edits, words)
    return bytes(out)


def take_tag(frame: bytes, parsed: Parsed) -> tuple[bytes, bytes, Parsed]:
    """Return a frame's customer tag, empty for none, the frame without it, and what was parsed of that."""
    if not customer_tag(parsed.key):
        return b"", frame, parsed
    offset = parsed.l4_offset and parsed.l4_offset - TAG_BYTES
    bare = transposition({"vlan_vid": 0}).apply(parsed.key)
    return frame[12:16], frame[:12] + frame[16:], parsed._replace(key=bare, l4_offset=offset)


def put_tag(frame: bytes, tag: bytes, edit: Transposition) -> bytes:
    """Return an untagged frame with the customer tag that an edit makes of the one that it had; its priority stays."""
    vlan = dict(edit.edits).get("vlan_vid")
    if vlan is not None:
        priority = tag[2] & 0xF0 if tag else 0
        tag = struct.pack("!HBB", ETH_VLAN, priority | vlan >> 8 & 0x0F, vlan & 0xFF) if vlan else b""
    return frame[:12] + tag + frame[12:]


def _set_macs(out: bytearray, edits: dict[str, int]) -> None:
    if "eth_dst" in edits:
        out[0:6] = edits["eth_dst"].to_bytes(6, "big")
    if "eth_src" in edits:
        out[6:12] = edits["eth_src"].to_bytes(6, "big")


def _edit_ipv4(out: bytearray, edits: dict[str, int]) -> int:
    """Edit the IPv4 header; return the change of the address words, for checksums that cover them."""
    before = word_sum(out[26:34])
    if "ip_dscp" in edits:
        out[15] = edits["ip_dscp"] << 2 | out[15] & 3
    if "ipv4_src" in edits:
        out[26:30] = edits["ipv4_src"].to_bytes(4, "big")
    if "ipv4_dst" in edits:
        out[30:34] = edits["ipv4_dst"].to_bytes(4, "big")
    end = 14 + (out[14] & 0x0F) * 4
    out[24:26] = b"\0\0"
    out[24:26] = struct.pack("!H", checksum(out[14:end]))
    return word_sum(out[26:34]) - before


def _edit_ipv6(out: bytearray, edits: dict[str, int]) -> int:
    before = word_sum(out[22:54])
    if "ip_dscp" in edits:
        word = struct.unpack_from("!H", out, 14)[0]
        struct.pack_into("!H", out, 14, word & ~0x0FC0 | edits["ip_dscp"] << 6)
    if "ipv6_src" in edits:
        out[22:38] = edits["ipv6_src"].to_bytes(16, "big")
    if "ipv6_dst" in edits:
        out[38:54] = edits["ipv6_dst"].to_bytes(16, "big")
    return word_sum(out[22:54]) - before


def _edit_transport(out: bytearray, parsed: Parsed, edits: dict[str, int], changed: int) -> None:
    l4 = parsed.l4_offset
    if not l4:
        return
    proto = _proto(parsed.key)
    for name, offset in (("l4_src", 0), ("l4_dst", 2)):
        if name in edits:
            changed += edits[name] - struct.unpack_from("!H", out, l4 + offset)[0]
            struct.pack_into("!H", out, l4 + offset, edits[name])
    at = _CHECKSUM_AT.get(proto)
    if at is None or not changed or l4 + at + 2 > len(out):
        return
    old = struct.unpack_from("!H", out, l4 + at)[0]
    if proto == PROTO_UDP and old == 0 and parsed.key.family is Family.IPV4:
        return  # A sender that computed no checksum (RFC 768).
    new = updated(old, changed)
    struct.pack_into("!H", out, l4 + at, new or 0xFFFF if proto == PROTO_UDP else new)


def _proto(key: FlowKey) -> int:
    return key.bits >> (104 if key.family is Family.IPV4 else 296) & 0xFF

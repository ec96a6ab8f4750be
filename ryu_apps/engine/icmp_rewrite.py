"""Translation of an ICMP error: of its own header, and of the packet that it quotes (RFC 5508 section 4)."""

from __future__ import annotations

import struct

from ryu_apps.engine.checksum import checksum, updated, word_sum
from ryu_apps.engine.rewrite import put_tag, rewrite, take_tag
from ryu_apps.engine.walk import MIRROR
from ryu_apps.model.flow_key import PROTO_ICMPV6, PROTO_TCP, PROTO_UDP, PROTOS_WITH_PORTS, Family, Parsed
from ryu_apps.model.transposition import Transposition

_QUOTE_BEHIND = 8
_CHECKSUM_AT = {PROTO_TCP: 16, PROTO_UDP: 6}


def rewrite_icmp_error(frame: bytes, parsed: Parsed, edit: Transposition) -> bytes:
    """Return an ICMP error as the connection's edit makes it on the way that the error goes.

    The quoted packet went the other way, so it has the edit with its ends exchanged; all checksums that the error holds
    are right afterwards. A quote may be cut short: what is not there is not edited.
    """
    tag, frame, parsed = take_tag(frame, parsed)
    return put_tag(_rewrite_untagged(frame, parsed, edit), tag, edit)


def _rewrite_untagged(frame: bytes, parsed: Parsed, edit: Transposition) -> bytes:
    edit = Transposition(tuple(pair for pair in edit.edits if pair[0] != "vlan_vid"))
    addresses = Transposition(tuple((name, value) for name, value in edit.edits if not name.startswith("l4_")))
    out = bytearray(rewrite(frame, parsed, addresses))
    mirrored = {MIRROR[name]: value for name, value in edit.edits if name in MIRROR}
    if not mirrored:
        return bytes(out)
    quote = parsed.l4_offset + _QUOTE_BEHIND
    if parsed.key.family is Family.IPV4:
        _edit_ipv4_quote(out, quote, mirrored)
        end = 14 + struct.unpack_from("!H", out, 16)[0]
        pseudo = b""
    else:
        _edit_ipv6_quote(out, quote, mirrored)
        length = struct.unpack_from("!H", out, 18)[0]
        end = 54 + length
        pseudo = bytes(out[22:54]) + struct.pack("!II", end - parsed.l4_offset, PROTO_ICMPV6)
    at = parsed.l4_offset + 2
    out[at : at + 2] = b"\0\0"
    struct.pack_into("!H", out, at, checksum(pseudo + bytes(out[parsed.l4_offset : end])))
    return bytes(out)


def _edit_ipv4_quote(out: bytearray, at: int, edits: dict[str, int]) -> None:
    header = (out[at] & 0x0F) * 4
    before = bytes(out[at + 12 : at + 20])
    for name, offset in (("ipv4_src", 12), ("ipv4_dst", 16)):
        if name in edits:
            struct.pack_into("!I", out, at + offset, edits[name])
    out[at + 10 : at + 12] = b"\0\0"
    struct.pack_into("!H", out, at + 10, checksum(bytes(out[at : at + header])))
    _edit_quoted_transport(out, at + header, out[at + 9], edits, before, bytes(out[at + 12 : at + 20]))


def _edit_ipv6_quote(out: bytearray, at: int, edits: dict[str, int]) -> None:
    before = bytes(out[at + 8 : at + 40])
    for name, offset in (("ipv6_src", 8), ("ipv6_dst", 24)):
        if name in edits:
            out[at + offset : at + offset + 16] = edits[name].to_bytes(16, "big")
    _edit_quoted_transport(out, at + 40, out[at + 6], edits, before, bytes(out[at + 8 : at + 40]))


def _edit_quoted_transport(
    out: bytearray, at: int, proto: int, edits: dict[str, int], before: bytes, after: bytes
) -> None:
    if proto not in PROTOS_WITH_PORTS:
        return
    before += bytes(out[at : at + 4])
    for name, offset in (("l4_src", 0), ("l4_dst", 2)):
        if name in edits:
            struct.pack_into("!H", out, at + offset, edits[name])
    after += bytes(out[at : at + 4])
    sum_at = at + _CHECKSUM_AT.get(proto, len(out))
    if sum_at + 2 <= len(out):
        old = struct.unpack_from("!H", out, sum_at)[0]
        if proto != PROTO_UDP or old:
            struct.pack_into("!H", out, sum_at, updated(old, word_sum(after) - word_sum(before)))

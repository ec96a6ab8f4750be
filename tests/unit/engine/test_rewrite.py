"""Edits made on bytes: the frame that comes out is the one that the edited key would have had from the start."""

from __future__ import annotations

import struct

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ryu_apps.engine.rewrite import rewrite
from ryu_apps.model.flow_key import (
    CUSTOMER_TAG,
    PROTO_ICMP,
    PROTO_ICMPV6,
    PROTO_TCP,
    PROTO_UDP,
    VLAN_PRESENT,
    Family,
    FlowKey,
    parse,
)
from ryu_apps.model.transposition import Transposition, transposition
from tests.unit.frames import checksum, frame_of
from tests.unit.policies import tcp
from tests.unit.southbound.entries import edits, keys

_CHECKSUM_AT = {PROTO_TCP: 16, PROTO_UDP: 6, PROTO_ICMP: 2, PROTO_ICMPV6: 2}
_IP = (Family.IPV4, Family.IPV6)


def untagged(frame: bytes) -> bytes:
    """Return a frame without its customer's tag."""
    return frame[:12] + frame[16:] if frame[12:14] == b"\x81\0" else frame


def checked(frame: bytes) -> dict[str, bool]:
    """Return by header whether its checksum is right, recomputed from all bytes that it covers."""
    frame = untagged(frame)
    parsed = parse(frame)
    assert parsed is not None
    proto = parsed.key.bits >> (104 if parsed.key.family is Family.IPV4 else 296) & 0xFF
    l4 = parsed.l4_offset
    results = {}
    if parsed.key.family is Family.IPV4:
        results["ip"] = checksum(frame[14 : 14 + (frame[14] & 15) * 4]) == 0
        pseudo = frame[26:34] + struct.pack("!HH", proto, len(frame) - l4)
    else:
        pseudo = frame[22:54] + struct.pack("!II", len(frame) - l4, proto)
    if l4 and proto in _CHECKSUM_AT and (proto, parsed.key.family) != (PROTO_ICMP, Family.IPV6):
        covered = frame[l4:] if proto == PROTO_ICMP else pseudo + frame[l4:]
        results["transport"] = checksum(covered) == 0
    return results


def without_checksum(frame: bytes) -> bytes:
    """Return a frame with its transport checksum blanked: zero has two forms in one's complement."""
    parsed = parse(frame)
    assert parsed is not None
    proto = parsed.key.bits >> (104 if parsed.key.family is Family.IPV4 else 296) & 0xFF
    if proto not in _CHECKSUM_AT or not parsed.l4_offset:
        return frame
    at = parsed.l4_offset + _CHECKSUM_AT[proto]
    return frame[:at] + b"\0\0" + frame[at + 2 :]


def edited(frame: bytes, edit: Transposition) -> bytes:
    """Return the frame after the edit."""
    parsed = parse(frame)
    assert parsed is not None
    return rewrite(frame, parsed, edit)


@given(
    keys().filter(lambda key: key.family in _IP), edits(), st.binary(max_size=40), st.sampled_from([b"", b"\x01" * 8])
)
def test_an_edited_frame_is_the_frame_of_the_edited_key(
    key: FlowKey, edit: Transposition, payload: bytes, options: bytes
) -> None:
    """M07, M23: every field and every checksum is as if the packet had been sent that way, and nothing else changes."""
    # Another IP version's ICMP has a checksum that this frame builder and this program take for payload.
    frame = frame_of(key, payload, options if key.family is Family.IPV4 else b"")
    assume(parse(frame) is not None)
    out = edited(frame, edit)
    expected = frame_of(edit.apply(key), payload, options if key.family is Family.IPV4 else b"")
    assert without_checksum(out) == without_checksum(expected)
    assert checked(out) == checked(expected) and checked(out).get("ip", True)


@given(edits(), st.integers(1, 0xFFFF), st.integers(0, 0xFFFF))
def test_congestion_marks_and_identification_are_left_alone(edit: Transposition, ip_id: int, flags: int) -> None:
    """Only the DSCP bits of the traffic class are edited, and fields that are no match fields stay."""
    frame = bytearray(frame_of(tcp()))
    frame[15] |= 3
    frame[18:20] = ip_id.to_bytes(2, "big")
    frame[24:26] = b"\0\0"
    frame[24:26] = checksum(bytes(frame[14:34])).to_bytes(2, "big")
    out = untagged(edited(bytes(frame), edit))
    assert out[15] & 3 == 3 and out[18:24] == frame[18:24]
    assert checked(out) == {"ip": True, "transport": True}


@given(edits())
def test_a_sender_that_computed_no_checksum_still_has_none(edit: Transposition) -> None:
    """RFC 768: a UDP checksum of zero means that there is none, and an edit does not make one up."""
    frame = bytearray(frame_of(tcp(ip_proto="udp"), b"payload"))
    frame[40:42] = b"\0\0"
    assert untagged(edited(bytes(frame), edit))[40:42] == b"\0\0"


@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
def test_a_computed_checksum_never_becomes_none(first: int, second: int) -> None:
    """RFC 768: a UDP checksum that comes out as zero is sent as all ones."""
    out = edited(frame_of(tcp(ip_proto="udp")), transposition({"l4_src": first, "l4_dst": second}))
    assert out[40:42] != b"\0\0" and checked(out)["transport"]


def test_a_udp_checksum_of_zero_is_written_as_all_ones() -> None:
    """The one source port that makes the sum come out as zero is found, and the frame still carries a checksum."""
    frame = frame_of(tcp(ip_proto="udp"))
    wanted = (int.from_bytes(frame[40:42], "big") + int.from_bytes(frame[34:36], "big")) % 0xFFFF
    assert edited(frame, transposition({"l4_src": wanted}))[40:42] == b"\xff\xff"


def test_another_tag_keeps_its_priority() -> None:
    """M23: of a customer's tag an edit sets the VLAN alone; its priority bits (IEEE 802.1Q) stay."""
    frame = frame_of(tcp())
    tagged = frame[:12] + b"\x81\0\xb0\x07" + frame[12:]
    vlan = {"vlan_vid": CUSTOMER_TAG | VLAN_PRESENT | 0x123}
    assert edited(tagged, transposition(vlan | {"ip_dscp": 0}))[12:16] == b"\x81\0\xb1\x23"
    assert edited(tagged, transposition({"vlan_vid": 0})) == frame


@pytest.mark.parametrize("edit", [{}, {"ipv6_src": 1}, {"ipv6_dst": 2}])
def test_an_edit_of_fields_that_a_packet_lacks_changes_nothing(edit: dict[str, int]) -> None:
    """Fields of the other IP version are passed over."""
    frame = frame_of(tcp())
    assert edited(frame, transposition(edit)) == frame


def test_a_later_fragment_has_only_its_ip_header_edited() -> None:
    """What stands where a transport header would be is payload in a later fragment."""
    frame = bytearray(frame_of(tcp()))
    frame[20:22] = (9).to_bytes(2, "big")
    edit = transposition({"ipv4_dst": 1, "eth_dst": 2, "ip_dscp": 46})
    out = edited(bytes(frame), edit)
    assert out[34:] == frame[34:] and out[30:34] == b"\0\0\0\x01" and out[15] == 46 << 2
    assert checksum(out[14:34]) == 0

"""Parsing of frames: never a surprise on hostile bytes, and the same view as Ryu's packet library on valid ones."""

from __future__ import annotations

import ipaddress
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from ryu.lib.packet import arp, ethernet, icmp, icmpv6, ipv4, ipv6, packet, sctp, tcp, udp

from ryu_apps.model.fields import FIELDS, describe
from ryu_apps.model.flow_key import ND_TYPES, VLAN_PRESENT, Family, customer_tag, parse
from ryu_apps.model.transposition import transposition
from tests.unit.model.strategies import ipv4s, ipv6s, macs

_ETH_TYPES = [0x0800, 0x86DD, 0x0806, 0x8100, 0x88A8, 0x88CC, 46]
_port = st.integers(0, 65535)
_byte = st.integers(0, 255)


def _transports(version: int) -> st.SearchStrategy[tuple[int, Any]]:
    """Draw (protocol, transport header or payload)."""
    messages = st.sampled_from([0, 3, 8, 11, 13]) if version == 4 else st.sampled_from([1, 3, 128, 129, 135, 136, 137])
    return st.one_of(
        st.tuples(st.just(6), st.builds(tcp.tcp, _port, _port, st.just(1), st.just(0), st.just(0))),
        st.tuples(st.just(17), st.builds(udp.udp, _port, _port)),
        st.tuples(st.just(132), st.builds(sctp.sctp, _port, _port)),
        st.tuples(
            st.just(1 if version == 4 else 58),
            st.tuples(messages, _byte).map(lambda pair: bytes(pair) + b"\xab\xcd" + b"\0" * 20),
        ),
        st.tuples(st.sampled_from([47, 50, 103, 253, 58 if version == 4 else 1]), st.just(b"\x01\x02\x03\x04" * 5)),
    )


def _serialized(*parts: Any) -> bytes:
    built = packet.Packet()
    for part in parts:
        built.add_protocol(part)
    built.serialize()
    return bytes(built.data)


@st.composite
def _ipv4_frames(draw: st.DrawFn) -> bytes:
    proto, transport = draw(_transports(4))
    option = draw(st.sampled_from([None, b"\x94\x04\x00\x00", b"\x01" * 8, b"\x01" * 40]))
    # Flags: 1 more fragments, 2 do not fragment; the offset counts 8 bytes.
    flags, offset = draw(st.sampled_from([(0, 0), (2, 0), (1, 0), (1, 5), (0, 8191)]))
    header = ipv4.ipv4(
        tos=draw(_byte),
        identification=draw(_port),
        flags=flags,
        offset=offset,
        proto=proto,
        src=draw(ipv4s),
        dst=draw(ipv4s),
        option=option,
        header_length=5 + len(option or b"") // 4,
    )
    link = ethernet.ethernet(draw(macs), draw(macs), 0x0800)
    return _serialized(link, header, transport, draw(_payloads(proto)))


def _payloads(proto: int) -> st.SearchStrategy[bytes]:
    # Ryu reads on into what TCP, UDP, SCTP and neighbour discovery carry, and gives up or raises where that is broken.
    return st.just(b"") if proto in (6, 17, 132, 58) else st.binary(max_size=30)


_EXTENSION_NUMBERS = {ipv6.hop_opts: 0, ipv6.routing_type3: 43, ipv6.fragment: 44, ipv6.auth: 51, ipv6.dst_opts: 60}


def _extensions() -> st.SearchStrategy[Any]:
    options = [ipv6.option(type_=1, len_=4, data=b"\0" * 4)]
    segments = ["2001:db8::1", "2001:db8::2"]
    return st.one_of(
        st.builds(ipv6.hop_opts, data=st.just(options)),
        st.builds(ipv6.dst_opts, data=st.just(options)),
        st.builds(ipv6.routing_type3, seg=st.just(2), adrs=st.just(segments)),
        st.builds(ipv6.auth, size=st.just(4), data=st.just(b"\0" * 12)),
        st.builds(ipv6.fragment, offset=st.sampled_from([0, 0, 7]), more=st.integers(0, 1), id_=_port),
    )


@st.composite
def _ipv6_frames(draw: st.DrawFn) -> bytes:
    proto, transport = draw(_transports(6))
    extensions = draw(st.lists(_extensions(), max_size=4, unique_by=type))
    numbers = [*(_EXTENSION_NUMBERS[type(extension)] for extension in extensions), proto]
    for extension, number in zip(extensions, numbers[1:], strict=True):
        extension.nxt = number
    header = ipv6.ipv6(
        traffic_class=draw(_byte),
        flow_label=draw(st.integers(0, 0xFFFFF)),
        nxt=numbers[0],
        src=draw(ipv6s),
        dst=draw(ipv6s),
        ext_hdrs=extensions,
    )
    link = ethernet.ethernet(draw(macs), draw(macs), 0x86DD)
    return _serialized(link, header, transport, draw(_payloads(proto)))


@st.composite
def _arp_frames(draw: st.DrawFn) -> bytes:
    message = arp.arp(1, 0x0800, 6, 4, draw(_byte), draw(macs), draw(ipv4s), draw(macs), draw(ipv4s))
    return _serialized(ethernet.ethernet(draw(macs), draw(macs), 0x0806), message)


def _other_frames() -> st.SearchStrategy[bytes]:
    return st.builds(
        lambda dst, src, eth_type, rest: _serialized(ethernet.ethernet(dst, src, eth_type), rest),
        macs, macs, st.sampled_from([0x88CC, 0x9000, 0x05FF, 46]), st.integers(46, 60).map(bytes),
    )


frames = st.one_of(_ipv4_frames(), _ipv6_frames(), _arp_frames(), _other_frames())


@given(st.binary(max_size=120), st.sampled_from(_ETH_TYPES))
def test_random_bytes(rest: bytes, eth_type: int) -> None:
    """Random bytes behind any Ethernet type give a key or None, never an exception."""
    parse(b"\x02" * 12 + eth_type.to_bytes(2, "big") + rest)
    parse(rest)


@given(frames, st.data())
def test_damaged_frames(frame: bytes, data: st.DataObject) -> None:
    """A valid frame cut short, or with bytes changed, gives a key or None, never an exception."""
    parse(frame[: data.draw(st.integers(0, len(frame)))])
    damaged = bytearray(frame)
    for _ in range(3):
        damaged[data.draw(st.integers(12, len(frame) - 1))] = data.draw(_byte)
    parsed = parse(bytes(damaged))
    if parsed is not None:
        describe(parsed.key)


@given(st.one_of(_ipv4_frames(), _ipv6_frames()), st.data())
def test_cut_in_its_headers(frame: bytes, data: st.DataObject) -> None:
    """An IP frame shorter than its headers say is malformed."""
    is_v4 = frame[12:14] == b"\x08\x00"
    end = 14 + int.from_bytes(frame[16:18], "big") if is_v4 else 54 + int.from_bytes(frame[18:20], "big")
    assert parse(frame[: data.draw(st.integers(0, end - 1))]) is None


def _expected(frame: bytes) -> dict[str, int]:
    """Return the fields of a frame as Ryu's packet library sees them."""
    seen = packet.Packet(frame)
    link = seen.get_protocol(ethernet.ethernet)
    fields = {"eth_dst": _mac(link.dst), "eth_src": _mac(link.src), "eth_type": link.ethertype}
    if link.ethertype < 0x600:
        fields["eth_type"] = 0x5FF
    message = seen.get_protocol(arp.arp)
    if message is not None:
        return fields | {"arp_op": message.opcode, "arp_spa": _ip(message.src_ip), "arp_tpa": _ip(message.dst_ip)}
    header = seen.get_protocol(ipv4.ipv4)
    if header is not None:
        fields |= {"ip_proto": header.proto, "ip_dscp": header.tos >> 2}
        fields |= {"ipv4_src": _ip(header.src), "ipv4_dst": _ip(header.dst)}
        return fields if header.offset else fields | _transport_fields(seen, "icmpv4", icmp.icmp)
    header = seen.get_protocol(ipv6.ipv6)
    if header is not None:
        last = header.ext_hdrs[-1].nxt if header.ext_hdrs else header.nxt
        fields |= {"ip_proto": last, "ip_dscp": header.traffic_class >> 2}
        fields |= {"ipv6_src": _ip(header.src), "ipv6_dst": _ip(header.dst)}
        fields |= _transport_fields(seen, "icmpv6", icmpv6.icmpv6)
    return fields


def _transport_fields(seen: packet.Packet, name: str, control: type[Any]) -> dict[str, int]:
    for kind in (tcp.tcp, udp.udp, sctp.sctp):
        header = seen.get_protocol(kind)
        if header is not None:
            return {"l4_src": header.src_port, "l4_dst": header.dst_port}
    message = seen.get_protocol(control)
    if message is None:
        return {}
    return {f"{name}_type": message.type if control is icmp.icmp else message.type_, f"{name}_code": message.code}


def _mac(text: str) -> int:
    return int(text.replace(":", ""), 16)


def _ip(text: str) -> int:
    return int(ipaddress.ip_address(text))


def _later_fragment(frame: bytes) -> bool:
    header = packet.Packet(frame).get_protocol(ipv6.ipv6)
    return header is not None and any(
        isinstance(extension, ipv6.fragment) and extension.offset for extension in header.ext_hdrs
    )


@given(frames, st.integers(1, 4094), st.integers(0, 15))
def test_a_customers_tag_is_part_of_the_key(frame: bytes, vlan: int, priority: int) -> None:
    """M23: one tag gives the key of the frame without it, and its VLAN; two, or VLAN 0, give none."""
    tag = b"\x81\0" + (priority << 12 | vlan).to_bytes(2, "big")
    plain, tagged = parse(frame), parse(frame[:12] + tag + frame[12:])
    assert plain is not None and tagged is not None
    assert customer_tag(tagged.key) == VLAN_PRESENT | vlan and customer_tag(plain.key) == 0
    assert transposition({"vlan_vid": 0}).apply(tagged.key) == plain.key
    assert tagged[1:3] == plain[1:3] and tagged.l4_offset == (plain.l4_offset and plain.l4_offset + 4)
    assert parse(frame[:12] + 2 * tag + frame[12:]) is None
    assert parse(frame[:12] + b"\x81\0" + bytes([priority << 4, 0]) + frame[12:]) is None
    assert parse(frame[:12] + tag + frame[12:], VLAN_PRESENT | 7) is None


@given(frames, st.sampled_from([0, VLAN_PRESENT | 7]))
def test_agrees_with_ryu(frame: bytes, vlan_vid: int) -> None:
    """Every field of a valid frame is what Ryu's packet library reads, and there are no others."""
    if _later_fragment(frame):
        return  # Ryu reads on behind a later fragment's header, where there is payload
    parsed = parse(frame, vlan_vid)
    assert parsed is not None
    key = parsed.key
    expected = {**_expected(frame), **({"vlan_vid": vlan_vid} if vlan_vid else {})}
    shown = {name: FIELDS[name].get(key) for name in describe(key)}
    if parsed.fragment == 2:
        shown = {name: value for name, value in shown.items() if not name.startswith(("l4_", "icmp"))}
        assert key.bits & 0xFFFFFFFF == 0
    assert shown == expected
    is_nd = expected.get("icmpv6_type") in ND_TYPES
    assert (key.family is Family.ND) == is_nd


@given(_ipv4_frames())
def test_fragments(frame: bytes) -> None:
    """A fragment is known as first or later, with its datagram's identification; only then is there one."""
    header = packet.Packet(frame).get_protocol(ipv4.ipv4)
    parsed = parse(frame)
    assert parsed is not None
    kind = 2 if header.offset else 1 if header.flags & 1 else 0
    assert (parsed.fragment, parsed.ip_id) == (kind, header.identification if kind else 0)
    assert parsed.l4_offset == (0 if kind == 2 else 14 + header.header_length * 4)


@given(_ipv6_frames())
def test_ipv6_fragments(frame: bytes) -> None:
    """An IPv6 fragment is known by its extension header; an atomic one (RFC 6946) is a whole packet."""
    header = packet.Packet(frame).get_protocol(ipv6.ipv6)
    found = [extension for extension in header.ext_hdrs if isinstance(extension, ipv6.fragment)]
    kind = 2 if found and found[0].offset else 1 if found and found[0].more else 0
    parsed = parse(frame)
    assert parsed is not None
    assert (parsed.fragment, parsed.ip_id) == (kind, found[0].id_ if kind else 0)

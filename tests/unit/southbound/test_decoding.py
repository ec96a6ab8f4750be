"""What a switch sends is read field by field, and nonsense is refused in one way."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ryu_apps.control.events import FlowRemoved, PacketIn, PresentEntry
from ryu_apps.control.sharing import MeterCount
from ryu_apps.pipeline.cached import CachedEntry
from ryu_apps.pipeline.cookie import INBOUND_PUNT, Cookie, EntryClass, Punt
from ryu_apps.pipeline.tables import NUMBER
from ryu_apps.southbound import flow_dump, flow_removed, hello, meters, packet_in, templates
from ryu_apps.southbound.cached_match import CachedMatch, key_of_match, read
from ryu_apps.southbound.malformed import Malformed
from ryu_apps.southbound.words import refusal
from tests.unit.southbound import messages, ryu_twin
from tests.unit.southbound.entries import cached_entries

u32 = st.integers(0, 0xFFFFFFFF)
u64 = st.integers(0, (1 << 64) - 1)


@given(u32, u32, u32, u32, st.binary(max_size=200), st.permutations(range(4)), st.sampled_from(Punt), st.booleans())
def test_a_packet_in_keeps_port_registers_and_frame(
    in_port: int, segment: int, sender: int, receiver: int, frame: bytes, order: list[int], punt: Punt, inbound: bool
) -> None:
    """A packet-in of ours is decoded whatever the order of its fields is, at any place in what was received.

    The cookie tells why the entry asked, and for which cache.
    """
    pairs = [("in_port", in_port), ("reg0", segment), ("reg1", sender), ("reg2", receiver)]
    fields = messages.oxm_fields(pairs[place] for place in order)
    cookie = Cookie(EntryClass.PUNT, vport=7, detail=punt | inbound * INBOUND_PUNT).pack()
    data = messages.packet_in(fields, frame, cookie=cookie)
    cache = "inbound" if inbound else "outbound"
    expected = PacketIn(9, cache, punt, in_port, segment, sender, receiver, frame)
    assert packet_in.decode(b"xyz" + data + b"rest", 3, len(data), 9) == expected


def test_registers_that_are_zero_are_left_out_by_the_switch() -> None:
    """Open vSwitch does not mention a register that is 0, nor are other fields a hindrance."""
    fields = messages.oxm_fields([("in_port", 3), ("eth_type", 5), ("reg1", 7)])
    data = messages.packet_in(fields, b"frame")
    assert packet_in.decode(data, 0, len(data), 1) == PacketIn(1, "outbound", Punt.MISS, 3, 0, 7, 0, b"frame")


@pytest.mark.parametrize(
    ("cookie", "table_id"),
    [
        (0, NUMBER["missed"]),
        (Cookie(EntryClass.BASE).pack(), NUMBER["missed"]),
        (Cookie(EntryClass.PUNT, detail=99).pack(), NUMBER["missed"]),
        (Cookie(EntryClass.PUNT).pack() ^ 1 << 60, NUMBER["missed"]),
        (messages.PUNTED, NUMBER["outbound"]),
    ],
)
def test_packet_ins_of_others_are_left_to_ryu(cookie: int, table_id: int) -> None:
    """A packet-in that no punting entry of ours sent is not decoded here."""
    data = messages.packet_in(messages.oxm_fields([("in_port", 3)]), b"frame", table_id=table_id, cookie=cookie)
    assert packet_in.decode(data, 0, len(data), 1) is None


@given(st.binary(max_size=100), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
def test_a_hostile_packet_in_is_malformed_or_read(fields: bytes, match_type: int, match_bytes: int) -> None:
    """Whatever stands in a packet-in's match, the outcome is a packet-in or Malformed, and nothing else."""
    data = bytearray(messages.packet_in(fields, b"frame"))
    struct.pack_into("!HH", data, 24, match_type, match_bytes)
    try:
        found = packet_in.decode(bytes(data), 0, len(data), 1)
    except Malformed:
        return
    assert isinstance(found, PacketIn)


def test_known_matches_are_bounded() -> None:
    """Ever new registers do not make the memory of known matches grow without end."""
    for sender in range(packet_in._MAX_KNOWN + 10):
        data = messages.packet_in(messages.oxm_fields([("in_port", 3), ("reg1", sender)]), b"")
        packet_in.decode(data, 0, len(data), 1)
    assert len(packet_in._known) <= packet_in._MAX_KNOWN


@given(u64, u64, st.integers(0, 255), u32)
def test_a_flow_removed_keeps_its_counts(packets: int, octets: int, reason: int, duration_s: int) -> None:
    """A cached entry's removal tells cookie, reason and counts."""
    cookie = Cookie(EntryClass.REPLY, 5, 6, 7).pack()
    data = messages.flow_removed(cookie, reason=reason, packets=packets, octets=octets, duration_s=duration_s)
    expected = FlowRemoved(4, cookie, reason, packets, octets, duration_s)
    assert flow_removed.decode(b"x" + data, 1, len(data), 4) == expected


@pytest.mark.parametrize("cookie", [0, Cookie(EntryClass.BASE).pack(), Cookie(EntryClass.PUNT).pack(), (1 << 64) - 1])
def test_removals_of_other_entries_are_left_to_ryu(cookie: int) -> None:
    """Only cached entries' removals are decoded here."""
    data = messages.flow_removed(cookie)
    assert flow_removed.decode(data, 0, len(data), 4) is None


@st.composite
def _present(draw: st.DrawFn) -> PresentEntry:
    match = draw(st.binary(max_size=80))
    instructions = draw(st.binary(max_size=10)) * 8
    u16 = st.integers(0, 0xFFFF)
    return PresentEntry(
        draw(st.integers(0, 255)), draw(u16), draw(u64), match, instructions, draw(u16), draw(u16), draw(u64), draw(u64)
    )


@given(st.lists(_present(), max_size=5))
def test_flow_statistics_keep_every_byte(entries: list[PresentEntry]) -> None:
    """Match and instructions come out of a dump as the switch wrote them."""
    assert flow_dump.decode(b"".join(map(messages.flow_stats, entries))) == entries


@given(_present(), st.integers(0, 0xFFFF), st.integers(0, 200))
def test_hostile_flow_statistics_are_malformed_or_read(entry: PresentEntry, length: int, cut: int) -> None:
    """A wrong length or a cut ends in Malformed or in a shorter entry, never in a loop."""
    good = messages.flow_stats(entry)
    for body in (good + messages.flow_stats(entry, length=length), good[:cut]):
        try:
            flow_dump.decode(body)
        except Malformed:
            continue


@given(cached_entries())
def test_a_reported_entry_is_removed_by_its_own_bytes(made: CachedEntry) -> None:
    """The removal of an entry as reported equals that of the entry as made, but for the cookie, which is not asked."""
    match, instructions = templates.match_and_instructions(made)
    table = NUMBER[made.direction.value]
    present = PresentEntry(table, 100, made.cookie, match, instructions, 0, 0, 0, 0)
    removal = bytearray(templates.delete_strict(made))
    removal[8:16] = bytes(8)
    assert flow_dump.delete_strict(present) == bytes(removal)


@given(cached_entries())
def test_a_match_tells_the_flow_that_it_was_made_for(made: CachedEntry) -> None:
    """Reading a template's match gives back segment, vport, direction, key and whether DSCP counts."""
    match, _ = templates.match_and_instructions(made)
    dscp_at = {1: 96, 2: 288}.get(made.key.family)
    key = made.key
    if dscp_at is not None and not made.exact_dscp:
        key = key._replace(bits=key.bits & ~(0x3F << dscp_at))
    expected = CachedMatch(made.segment, made.vport, made.direction, key, made.exact_dscp and dscp_at is not None)
    assert key_of_match(match) == key_of_match(match) == read(match) == expected


@given(cached_entries(), st.integers(0, 200), st.integers(0, 255), st.integers(0, 200))
def test_the_quick_reading_of_a_match_equals_the_plain_one(made: CachedEntry, place: int, byte: int, cut: int) -> None:
    """Changed or cut matches are read alike by both ways, most of them as none of ours."""
    match = bytearray(templates.match_and_instructions(made)[0])
    key_of_match(bytes(match))
    match[place % len(match)] = byte
    for changed in (bytes(match), bytes(match[:cut])):
        assert key_of_match(changed) == read(changed)


@given(st.binary(max_size=100))
@example(b"\x80\x00\x0a\x02\x08\x06")
def test_arbitrary_bytes_are_no_cached_match(match: bytes) -> None:
    """Bytes that are no match of a cached entry say so."""
    assert key_of_match(match) is None


@pytest.mark.parametrize(
    ("message", "agreed"),
    [
        (messages.hello(), True),
        (messages.hello(1 << 5 | 1 << 4 | 1 << 1, version=6), True),
        (messages.hello(1 << 6, version=6), False),
        (messages.hello(1 << 4, version=4), False),
        (messages.hello(None), True),
        (messages.hello(None, version=6), True),
        (messages.hello(None, version=1), False),
        (messages.message(0, struct.pack("!HH4xHHI", 77, 5, 1, 8, 1 << 5)), True),
    ],
)
def test_a_hello_agrees_to_our_version_or_not(message: bytes, agreed: bool) -> None:
    """The bitmap decides, and without one the version of the header."""
    assert hello.agreed(message) is agreed


@pytest.mark.parametrize("element", [b"\0\1\0\0", b"\0\1\0\3", b"\0\1\0\x09\0\0\0\0", b"\0\1", b"\0\7\0\0\0\0\0\0"])
def test_a_hostile_hello_is_malformed(element: bytes) -> None:
    """Elements of length 0, too short, too long or cut are refused; Ryu's own parser reads the first for ever."""
    with pytest.raises(Malformed):
        hello.agreed(messages.message(0, element))


def test_our_hello_offers_one_version_only() -> None:
    """Ryu reads our hello as one bitmap with 1.4 alone."""
    read_back = ryu_twin.parse(hello.ours(77))
    assert [element.versions for element in read_back.elements] == [[5]]


@pytest.mark.parametrize("version", [0, 1, 4, 6])
def test_the_refusal_of_a_version_is_readable(version: int) -> None:
    """The error names the version wanted, in a header that the peer understands."""
    said = hello.refusal(messages.hello(None, version=version))
    assert said[0] == min(max(version, 1), 5) and said[1] == 1
    assert said[8:12] == b"\0\0\0\0" and b"OpenFlow 1.4" in said[12:] and len(said) == int.from_bytes(said[2:4], "big")


def test_errors_are_told_in_openflows_words() -> None:
    """An error tells type and code by name, and which message with which cookie it is about."""
    cookie = Cookie(EntryClass.FORWARD, 1, 2, 3).pack()
    flow_mod = messages.message(14, cookie.to_bytes(8, "big") + bytes(40))
    said = refusal(messages.error(5, 1, flow_mod))
    assert said.text == "OFPET_FLOW_MOD_FAILED(5), OFPFMFC_TABLE_FULL(1)"
    assert (said.message_type, said.cookie) == (14, cookie)
    inside = messages.message(34, struct.pack("!I2xH", 1, 3) + flow_mod)
    assert refusal(messages.error(5, 1, inside)) == said


@given(st.binary(max_size=60))
def test_any_error_message_is_told(body: bytes) -> None:
    """No error message, however short or strange, is itself an error."""
    assert refusal(messages.message(1, body)).text


def test_errors_without_a_name_share_one() -> None:
    """A peer cannot make counters grow by inventing errors."""
    assert len({refusal(messages.error(kind, code)).text for kind in (0, 5, 900) for code in range(1000)}) < 20


@given(
    st.lists(
        st.tuples(u32, u64, u32, st.integers(0, 999_999_999), st.lists(st.tuples(u64, u64), max_size=2)), max_size=3
    )
)
def test_meter_counts_are_read_as_ryu_reads_them(
    drawn: list[tuple[int, int, int, int, list[tuple[int, int]]]],
) -> None:
    """What a meter let through is what it was asked for less what its bands dropped, never below 0."""
    body = b"".join(
        struct.pack("!IH6xIQQII", meter, 40 + 16 * len(bands), 1, 2, octets, age_s, age_ns)
        + b"".join(struct.pack("!QQ", *band) for band in bands)
        for meter, octets, age_s, age_ns, bands in drawn
    )
    expected = {}
    for each in ryu_twin.parse(messages.multipart(9, body)).body:
        dropped = sum(band.byte_band_count for band in each.band_stats)
        packets = sum(band.packet_band_count for band in each.band_stats)
        age_ms = each.duration_sec * 1000 + each.duration_nsec // 1_000_000
        expected[each.meter_id] = MeterCount(age_ms, max(each.byte_in_count - dropped, 0), dropped, packets)
    assert meters.decode_counts(body) == expected


@pytest.mark.parametrize("length", [0, 39, 41, 48, 57])
def test_hostile_meter_counts_are_malformed(length: int) -> None:
    """A length that does not hold whole bands, or runs over, is refused."""
    with pytest.raises(Malformed):
        meters.decode_counts(struct.pack("!IH6xIQQII", 1, length, 1, 2, 3, 4, 5) + bytes(16))
    with pytest.raises(Malformed):
        meters.decode_counts(bytes(8))

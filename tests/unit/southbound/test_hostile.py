"""Hostile peers: each ends in a closed connection and a counter; the process and all others go on."""

from __future__ import annotations

import contextlib
import gc
import random
import struct
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ryu.ofproto.ofproto_protocol import ProtocolDesc

from ryu_apps.control.effects import Install
from ryu_apps.southbound import templates
from ryu_apps.southbound.malformed import Malformed
from ryu_apps.southbound.parser import parse
from ryu_apps.southbound.wire import Type
from tests.unit.southbound import messages
from tests.unit.southbound.loop import Loop, Peer, running, wait_until
from tests.unit.southbound.test_link import ENTRY, MISS

DATAPATH = ProtocolDesc(5)
PORT_WITH_PROPERTY = messages.port("p", 1, length=48)


@pytest.fixture
def loop() -> Iterator[Loop]:
    """Return a loop with ordinary limits."""
    with running() as started:
        yield started


BEFORE_HELLO = {
    "a length of 0": messages.message(Type.HELLO, length=0),
    "a length below the header": messages.message(Type.HELLO, length=7),
    "a hello element of length 0": messages.message(Type.HELLO, b"\0\1\0\0"),
    "a hello element beyond the end": messages.message(Type.HELLO, b"\0\1\xff\xff"),
    "a packet-in before hello": MISS,
    "features before hello": messages.features_reply(0, 1),
    "an absurd type": messages.message(200),
    "a request of a controller": messages.message(Type.FLOW_MOD, bytes(48)),
    "text of another protocol": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" + bytes(0x4000),
    "a refused hello": messages.error(0, 0, b"\xff\xfe"),
}


@pytest.mark.parametrize("data", BEFORE_HELLO.values(), ids=BEFORE_HELLO)
def test_nonsense_before_the_handshake_ends_the_connection(loop: Loop, data: bytes) -> None:
    """Nonsense instead of a hello is counted as malformed, and the datapath next door is served."""
    good, _ = loop.up(7)
    bad = loop.connect()
    bad.send(data)
    assert bad.closed()
    assert sum(count for reason, count in loop.links.counters.items() if reason.startswith("malformed")) == 1
    _still_served(loop, good)


def _still_served(loop: Loop, peer: Peer) -> None:
    loop.recorder.answer = lambda event: [Install(event.dpid, ENTRY)]
    peer.send(MISS)
    assert peer.next() == templates.add(ENTRY)


AFTER_HANDSHAKE = {
    "a length of 0": messages.message(Type.ECHO_REQUEST, length=0),
    "another version": messages.message(Type.ECHO_REQUEST, version=4),
    "an absurd type": messages.message(99),
    "a request of a controller": messages.message(Type.BUNDLE_CONTROL + 1, bytes(8)),
    "a second hello": messages.hello(),
    "a short packet-in": messages.message(Type.PACKET_IN, bytes(20)),
    "a packet-in whose match runs over": MISS[:26] + b"\xff\xff" + MISS[28:],
    "a packet-in without in_port": messages.packet_in(messages.oxm_fields([("reg0", 1)]), b""),
    "a short flow-removed": messages.message(Type.FLOW_REMOVED, bytes(10)),
    "a short port-status": messages.message(Type.PORT_STATUS, bytes(8)),
    "a port-status whose property has length 0": messages.message(
        Type.PORT_STATUS, bytes(8) + PORT_WITH_PROPERTY + bytes(8)
    ),
    "a port description whose length is 0": messages.multipart(13, messages.port("p", 1, length=0)),
    "a port description whose property has length 0": messages.multipart(13, PORT_WITH_PROPERTY + bytes(8)),
    "a multipart of an absurd type": messages.multipart(999, b""),
    "a multipart without a type": messages.message(Type.MULTIPART_REPLY),
    "flow statistics whose length is 0": messages.multipart(1, bytes(56)),
    "group descriptions whose bucket has length 0": messages.multipart(7, struct.pack("!HB5x", 24, 0) + bytes(16)),
    "meter counts whose length is 0": messages.multipart(9, bytes(40)),
    "meter configurations whose length is 0": messages.multipart(10, bytes(16)),
    "table features whose property has length 0": messages.multipart(12, struct.pack("!H70x", 72) + bytes(8)),
    "a role status whose property has length 0": messages.message(Type.ROLE_STATUS, bytes(16) + bytes(8)),
    "a bundle reply whose property has length 0": messages.message(Type.BUNDLE_CONTROL, bytes(8) + bytes(8)),
    "an async configuration whose property has length 0": messages.message(Type.GET_ASYNC_REPLY, bytes(8)),
    "a forwarded request": messages.message(Type.REQUESTFORWARD, messages.hello()),
    "a refused hello afterwards, in no alphabet": messages.error(0, 0, b"\xff\xfe", xid=5),
}


@pytest.mark.parametrize("data", AFTER_HANDSHAKE.values(), ids=AFTER_HANDSHAKE)
def test_nonsense_after_the_handshake_ends_the_connection(loop: Loop, data: bytes) -> None:
    """A datapath that turns hostile is closed and taken down; the one next door is served."""
    good, _ = loop.up(7)
    bad, _ = loop.up(8)
    started_s = time.monotonic()
    bad.send(data)
    assert bad.closed()
    assert time.monotonic() - started_s < 1.0
    assert loop.recorder.of("link_down") == [8] and loop.links.get(8) is None
    assert sum(count for reason, count in loop.links.counters.items() if reason.startswith("malformed")) == 1
    _still_served(loop, good)


@pytest.mark.parametrize("hello", [messages.hello(1 << 4, version=4), messages.hello(None, version=1)])
def test_another_version_is_refused_in_clear_words(loop: Loop, hello: bytes) -> None:
    """A switch that cannot speak 1.4 gets an error that says what to set, then the end of the connection."""
    peer = loop.connect()
    peer.send(hello, messages.message(Type.ECHO_REQUEST, version=4))
    said = peer.await_type(Type.ERROR)
    assert b"protocols=OpenFlow14" in said
    assert peer.closed() and loop.links.counters["version"] == 1


def test_random_bytes_do_no_harm(loop: Loop) -> None:
    """Connections that send noise, some of it framed as messages, all end; a good one is served meanwhile."""
    good, _ = loop.up(7)
    chance = random.Random(20140602)
    for number in range(60):
        bad = loop.connect()
        if number % 2:
            bad.handshake(100 + number)
        noise = chance.randbytes(chance.randrange(8, 3000))
        if number % 3:
            noise = messages.message(chance.randrange(36), noise)
        bad.send(noise)
        bad.socket.shutdown(1)
        assert bad.closed()
    _still_served(loop, good)
    assert loop.links.counters["fault"] == 0


def test_an_unfinished_hello_is_not_waited_for_for_ever() -> None:
    """A peer that sends its hello byte by byte, or says nothing, is closed when the handshake takes too long."""
    with running(handshake_s=0.05) as loop:
        slow, silent = loop.connect(), loop.connect()
        slow.send(messages.hello()[:5])
        assert slow.closed() and silent.closed()
        assert loop.links.counters["handshake timeout"] == 2


def test_a_long_hello_is_read_to_its_end_only(loop: Loop) -> None:
    """A hello of 64 KiB, full of unknown elements, is passed over and agreed to."""
    elements = struct.pack("!HH4x", 9, 8) * 8000 + struct.pack("!HHI", 1, 8, 1 << 5)
    peer = loop.connect()
    peer.send(messages.message(Type.HELLO, elements))
    assert peer.await_type(5)


def test_a_silent_datapath_is_asked_and_then_closed() -> None:
    """A datapath that says nothing is asked for a sign of life, and closed when none comes."""
    with running(echo_s=0.02, silent_s=0.2, handshake_s=0.2) as loop:
        peer, _ = loop.up(1)
        assert peer.await_type(Type.ECHO_REQUEST)
        assert peer.closed() and loop.links.counters["silent"] == 1


def test_a_datapath_that_shows_life_is_kept() -> None:
    """Any message is a sign of life."""
    with running(echo_s=0.02, silent_s=0.2, handshake_s=0.2) as loop:
        peer, link = loop.up(1)
        ends_s = time.monotonic() + 0.5
        while time.monotonic() < ends_s:
            peer.await_type(Type.ECHO_REQUEST)
            peer.send(messages.message(Type.ECHO_REPLY))
        assert loop.links.get(1) is link


def test_a_datapath_that_does_not_read_is_not_read_from() -> None:
    """Answers that nobody takes stop the reading of misses: memory stays bounded, and the datapath is closed."""
    crowded_bytes = 1 << 16
    with running(crowded_bytes=crowded_bytes, stall_s=0.3) as loop:
        good, _ = loop.up(2)
        bad, link = loop.up(1, receive_buffer=4096)
        loop.recorder.answer = lambda event: [Install(1, ENTRY)] * 100
        bad.socket.settimeout(0.01)
        most, rest = 0, b""
        while not link.is_closed:
            most = max(most, link.outbox.unsent_bytes)
            # What went is no more sent again, or the misses would be out of step.
            rest = rest or MISS
            with contextlib.suppress(OSError):
                rest = rest[bad.socket.send(rest) :]
        # Between two looks at the outbox there are at most 64 misses.
        assert most <= crowded_bytes + 64 * 100 * len(templates.add(ENTRY))
        assert loop.links.counters["does not read"] == 1
        assert loop.recorder.of("link_down") == [1]
        _still_served(loop, good)


def test_a_backlog_that_others_make_is_bounded() -> None:
    """A datapath that does not read while others' misses fill its outbox is closed at the limit."""
    with running(backlog_bytes=1 << 20, stall_s=60.0) as loop:
        _, lame = loop.up(1, receive_buffer=4096)
        peer, _ = loop.up(2)
        loop.recorder.answer = lambda event: [Install(1, ENTRY)] * 1000
        sent = 0
        while not lame.is_closed:
            peer.send(MISS)
            sent += 1
            wait_until(lambda: len(loop.recorder.of("packet_in")) == sent, "the miss")  # noqa: B023
            assert lame.outbox.unsent_bytes <= 1 << 20
        assert loop.links.counters["backlog too long"] == 1


def _with_property(kind: int, before: bytes, end: bytes = b"") -> bytes:
    """Return a message that ends in an element of type 0 and length 8."""
    return messages.message(kind, before + struct.pack("!HHI", 0, 8, 0x00010004) + end)


PARSED = (
    _with_property(Type.PORT_STATUS, bytes(8) + PORT_WITH_PROPERTY),
    _with_property(Type.MULTIPART_REPLY, struct.pack("!H6x", 13) + PORT_WITH_PROPERTY),
    _with_property(Type.MULTIPART_REPLY, struct.pack("!H6xH70x", 12, 72 + 8)),
    _with_property(Type.MULTIPART_REPLY, struct.pack("!H6xHB5xHHI8x", 7, 32, 0, 24, 0, 1)),
    _with_property(Type.GET_ASYNC_REPLY, b""),
    _with_property(Type.ROLE_STATUS, bytes(16)),
    _with_property(Type.BUNDLE_CONTROL, bytes(8)),
)


@settings(max_examples=300)
@given(
    st.sampled_from(PARSED),
    st.lists(st.tuples(st.integers(8, 200), st.sampled_from((0, 0, 0, 1, 4, 7, 8, 255))), max_size=6),
)
def test_ryus_parser_always_comes_back(good: bytes, changes: list[tuple[int, int]]) -> None:
    """Whatever bytes of a good message are changed, parsing ends soon, in a message or in Malformed."""
    data = bytearray(good)
    for place, byte in changes:
        if place < len(data):
            data[place] = byte
    started_s = time.monotonic()
    with contextlib.suppress(Malformed):
        parse(DATAPATH, data[1], 0, bytes(data))
    assert time.monotonic() - started_s < 1.0


def test_the_leash_holds_while_the_collector_calls_back() -> None:
    """An endless element ends parsing even when the limit is met inside a callback of the garbage collector."""
    called: list[str] = []
    threshold = gc.get_threshold()

    def callback(phase: str, _information: dict[str, int]) -> None:
        called.append(phase)

    gc.callbacks.append(callback)
    gc.set_threshold(1)
    try:
        for _ in range(20):
            with pytest.raises(Malformed, match="endless"):
                parse(DATAPATH, Type.GET_ASYNC_REPLY, 0, messages.message(Type.GET_ASYNC_REPLY, bytes(8)))
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(callback)
    assert called

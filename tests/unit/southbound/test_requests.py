"""Questions to a switch: matched by id, many at a time, and every way of not being answered is an error of its own."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

import eventlet
import pytest
from eventlet.greenthread import GreenThread

from ryu_apps.control.effects import MeterChange, SwitchChange
from ryu_apps.control.events import PresentEntry
from ryu_apps.model.action import RateUnit
from ryu_apps.model.errors import NotConfirmed, SwitchAway, SwitchRefused
from ryu_apps.pipeline.cookie import Cookie, EntryClass
from ryu_apps.pipeline.entry import FlowEntry
from ryu_apps.pipeline.meters import MeterConfig
from ryu_apps.pipeline.tables import NUMBER
from ryu_apps.southbound import calls, codec, meters, templates
from ryu_apps.southbound.wire import Type
from tests.unit.southbound import messages
from tests.unit.southbound.loop import Loop, Peer, running
from tests.unit.southbound.test_link import ENTRY

PRESENT = PresentEntry(2, 100, 7, b"\x80\x00\x0a\x02\x08\x00", b"", 5, 6, 70, 800)
PLAIN = FlowEntry(table="guard", priority=9, match=(("reg1", 4),), cookie=Cookie(EntryClass.BASE, vport=4).pack())
CHANGE = SwitchChange(dpid=1, removed=(PLAIN, PRESENT), added=(ENTRY, PLAIN))
_OPEN, _COMMIT, _DISCARD = 0, 4, 6


@pytest.fixture
def loop() -> Iterator[Loop]:
    """Return a loop with ordinary limits."""
    with running() as started:
        yield started


def _ask(question: Callable[..., Any], *arguments: Any, **named: Any) -> GreenThread:
    return eventlet.spawn(question, *arguments, **named)


def _xid(message: bytes) -> int:
    return int.from_bytes(message[4:8], "big")


def test_a_barrier_returns_when_the_switch_says_so(loop: Loop) -> None:
    """A barrier waits for the reply with its own id; another's does not do."""
    peer, link = loop.up()
    asked = _ask(calls.barrier, link)
    request = peer.await_type(Type.BARRIER_REQUEST)
    peer.send(messages.message(Type.BARRIER_REPLY, xid=_xid(request) + 1))
    eventlet.sleep(0.01)
    assert not asked.dead
    peer.send(messages.message(Type.BARRIER_REPLY, xid=_xid(request)))
    asked.wait()
    assert not link.exchanges


def test_requests_may_be_answered_in_any_order(loop: Loop) -> None:
    """Two dumps and a question for a cookie, answered crosswise and in parts, each get their own."""
    peer, link = loop.up()
    first = _ask(calls.dump_flows, link, table="outbound", cookie=7, cookie_mask=15)
    second, third = _ask(calls.dump_flows, link), _ask(calls.dump_cookies, link, [9])
    asked = [peer.await_type(Type.MULTIPART_REQUEST) for _ in range(3)]
    body = messages.flow_stats(PRESENT)
    peer.send(
        messages.multipart(1, body, xid=_xid(asked[1]), more=True),
        messages.multipart(1, body * 4, xid=_xid(asked[2])),
        messages.multipart(1, b"", xid=_xid(asked[0])),
        messages.multipart(1, body * 2, xid=_xid(asked[1])),
    )
    assert first.wait() == []
    assert second.wait() == [PRESENT] * 3
    assert third.wait() == [PRESENT] * 4
    assert asked[0][16] == NUMBER["outbound"] and asked[1][16] == 0xFF
    assert struct.unpack_from("!QQ", asked[0], 32) == (7, 15)


def test_many_cookies_are_asked_for_at_once(loop: Loop) -> None:
    """All questions are out before the first answer; the answers come together in whatever order they come."""
    peer, link = loop.up()
    asked = _ask(calls.dump_cookies, link, [7, 8, 9])
    questions = [peer.await_type(Type.MULTIPART_REQUEST) for _ in range(3)]
    assert [struct.unpack_from("!QQ", question, 32) for question in questions] == [
        (cookie, (1 << 64) - 1) for cookie in (7, 8, 9)
    ]
    body = messages.flow_stats(PRESENT)
    for question, content in ((questions[2], body), (questions[0], b""), (questions[1], body * 2)):
        peer.send(messages.multipart(1, content, xid=_xid(question)))
    assert asked.wait() == [PRESENT] * 3
    assert calls.dump_cookies(link, []) == []
    assert not link.exchanges


def test_an_unanswered_request_ends_in_time(loop: Loop) -> None:
    """A switch that does not answer in time is NotConfirmed, and a late answer disturbs nobody."""
    peer, link = loop.up()
    with pytest.raises(NotConfirmed):
        calls.barrier(link, timeout_s=0.02)
    request = peer.await_type(Type.BARRIER_REQUEST)
    peer.send(messages.message(Type.BARRIER_REPLY, xid=_xid(request)))
    again = _ask(calls.barrier, link)
    peer.send(messages.message(Type.BARRIER_REPLY, xid=_xid(peer.await_type(Type.BARRIER_REQUEST))))
    again.wait()


def test_a_lost_connection_ends_all_requests(loop: Loop) -> None:
    """All who wait when the connection ends get SwitchAway at once, as does who asks afterwards."""
    peer, link = loop.up()
    waiting = [_ask(calls.barrier, link, 60.0), _ask(calls.dump_flows, link), _ask(calls.commit, link, CHANGE)]
    peer.await_type(Type.BARRIER_REQUEST)
    peer.close()
    for each in waiting:
        with pytest.raises(SwitchAway):
            each.wait()
    with pytest.raises(SwitchAway):
        calls.barrier(link)


def test_a_refused_request_is_told_in_words(loop: Loop) -> None:
    """An error that answers a question becomes SwitchRefused with OpenFlow's names."""
    peer, link = loop.up()
    asked = _ask(calls.dump_flows, link)
    peer.send(messages.error(1, 2, xid=_xid(peer.await_type(Type.MULTIPART_REQUEST))))
    with pytest.raises(SwitchRefused, match=r"OFPET_BAD_REQUEST.*OFPBRC_BAD_MULTIPART"):
        asked.wait()


def _answer_bundle(peer: Peer, refuse: int = -1) -> list[bytes]:
    """Play a switch through one bundle, refusing the n-th message of it; return the messages that were put in."""
    added: list[bytes] = []
    while True:
        message = peer.next()
        if message[1] == Type.BUNDLE_ADD_MESSAGE:
            assert message[4:8] == message[20:24], "both headers must have one id"
            if len(added) == refuse:
                peer.send(messages.error(5, 1, message, xid=_xid(message)))
            added.append(message[16:])
        elif message[1] == Type.BARRIER_REQUEST:
            peer.send(messages.message(Type.BARRIER_REPLY, xid=_xid(message)))
        elif message[1] == Type.BUNDLE_CONTROL:
            bundle, kind, flags = struct.unpack_from("!IHH", message, 8)
            assert flags == 3
            reply = struct.pack("!IHH", bundle, kind + 1, 3)
            peer.send(messages.message(Type.BUNDLE_CONTROL, reply, xid=_xid(message)))
            if kind != _OPEN:
                assert (kind == _DISCARD) == (refuse >= 0)
                return added


def test_a_change_goes_as_one_bundle(loop: Loop) -> None:
    """Removals come before additions, a barrier before the commit."""
    peer, link = loop.up()
    asked = _ask(calls.commit, link, CHANGE)
    added = _answer_bundle(peer)
    asked.wait()
    plain = codec.flow_mod(PLAIN)
    assert [_with_xid(message, 0) for message in added[2:]] == [templates.add(ENTRY), plain]
    assert [(message[1], message[25]) for message in added] == [(14, 4), (14, 4), (14, 0), (14, 0)]
    assert loop.recorder.of("removed") == [(CHANGE.removed, ())]
    assert not link.exchanges


def _with_xid(message: bytes, xid: int) -> bytes:
    return message[:4] + xid.to_bytes(4, "big") + message[8:]


@pytest.mark.parametrize("refuse", range(4))
def test_a_change_refused_in_part_is_discarded(loop: Loop, refuse: int) -> None:
    """One refused message makes the whole bundle be discarded, and the error names entry and reason."""
    peer, link = loop.up()
    asked = _ask(calls.commit, link, CHANGE)
    _answer_bundle(peer, refuse)
    with pytest.raises(SwitchRefused, match="OFPFMFC_TABLE_FULL"):
        asked.wait()
    assert loop.recorder.of("removed") == []


def test_a_refused_commit_is_told_with_its_cause(loop: Loop) -> None:
    """When the commit itself fails, the first error, which is about the entry, is the one told."""
    peer, link = loop.up()
    asked = _ask(calls.commit, link, CHANGE)
    commit, adding = _until_commit(peer)
    failed = _with_xid(templates.add(ENTRY), adding)
    peer.send(messages.error(5, 1, failed, xid=adding), messages.error(17, 15, xid=_xid(commit)))
    with pytest.raises(SwitchRefused, match=f"OFPFMFC_TABLE_FULL.*0x{ENTRY.cookie:016x}"):
        asked.wait()
    assert loop.recorder.of("removed") == []


def _until_commit(peer: Peer) -> tuple[bytes, int]:
    """Play a switch through one bundle that takes all; return the commit, unanswered, and the id of what was added."""
    adding = 0
    while True:
        message = peer.next()
        if message[1] == Type.BUNDLE_ADD_MESSAGE:
            adding = _xid(message)
        elif message[1] == Type.BARRIER_REQUEST:
            peer.send(messages.message(Type.BARRIER_REPLY, xid=_xid(message)))
        elif int.from_bytes(message[12:14], "big") == _COMMIT:
            return message, adding
        else:
            peer.send(messages.message(Type.BUNDLE_CONTROL, message[8:12] + b"\0\1\0\3", xid=_xid(message)))


def test_what_a_switch_has_is_not_known_while_it_commits(loop: Loop) -> None:
    """M28: who adds up counts waits until a commit is answered, and is told what it removed before it goes on."""
    peer, link = loop.up()
    asked = _ask(calls.commit, link, CHANGE)
    commit, _ = _until_commit(peer)
    told = _ask(lambda: [link.await_changed(), loop.recorder.of("removed")])
    eventlet.sleep(0.02)
    assert not told.dead
    peer.send(messages.message(Type.BUNDLE_CONTROL, commit[8:12] + b"\0\5\0\3", xid=_xid(commit)))
    asked.wait()
    assert told.wait() == [None, [(CHANGE.removed, ())]]


def test_meters_that_are_altered_or_go_are_told_when_the_switch_has_done_so(loop: Loop) -> None:
    """M28: they count from nothing then, or no more; a new one has counted nothing."""
    peer, link = loop.up()
    config = MeterConfig(1, RateUnit.PPS, 1000, 100)
    change = MeterChange(put=(config,), altered=(config._replace(number=2),), gone=(3,))
    asked = _ask(meters.commit, link, change, 5.0)
    request = peer.await_type(Type.BARRIER_REQUEST)
    assert loop.recorder.of("removed") == []
    peer.send(messages.message(Type.BARRIER_REPLY, xid=_xid(request)))
    asked.wait()
    assert loop.recorder.of("removed") == [((), (2, 3))]


def test_an_unconfirmed_change_is_discarded_and_said_to_be_unknown(loop: Loop) -> None:
    """When the barrier is not answered in time, the bundle is dropped and the caller told that nothing is sure."""
    peer, link = loop.up()
    with pytest.raises(NotConfirmed):
        calls.commit(link, CHANGE, timeout_s=0.05)
    peer.await_type(Type.BARRIER_REQUEST)
    assert int.from_bytes(peer.await_type(Type.BUNDLE_CONTROL)[12:14], "big") == _DISCARD


@pytest.mark.parametrize(
    "answer",
    [
        lambda xid: messages.message(Type.BARRIER_REPLY, xid=xid),
        lambda xid: messages.multipart(1, bytes(10), xid=xid),
        lambda xid: messages.message(Type.MULTIPART_REPLY, b"\0\1", xid=xid),
    ],
    ids=["of another type", "with a body cut short", "without a body"],
)
def test_a_wrong_answer_ends_the_request(loop: Loop, answer: Callable[[int], bytes]) -> None:
    """A reply that is not what was asked for is no answer: the connection is closed and the caller told."""
    peer, link = loop.up()
    asked = _ask(calls.dump_flows, link)
    peer.send(answer(_xid(peer.await_type(Type.MULTIPART_REQUEST))))
    with pytest.raises(SwitchAway):
        asked.wait()
    assert peer.closed()


def test_an_endless_answer_is_cut_off() -> None:
    """A reply that never ends closes the connection when it passes the limit."""
    with running(reply_bytes=10_000) as loop:
        peer, link = loop.up()
        asked = _ask(calls.dump_flows, link)
        xid = _xid(peer.await_type(Type.MULTIPART_REQUEST))
        part = messages.multipart(1, messages.flow_stats(PRESENT), xid=xid, more=True)
        peer.send(part * 200)
        with pytest.raises(SwitchAway):
            asked.wait()
        assert loop.links.counters["malformed: endless reply"] == 1


def test_ids_are_never_zero_and_never_pending_twice(loop: Loop) -> None:
    """Ids wrap around without 0, which belongs to effects."""
    _, link = loop.up()
    link.xid = 0x7FFFFFFE
    assert [link.next_xid() for _ in range(3)] == [0x7FFFFFFF, 1, 2]

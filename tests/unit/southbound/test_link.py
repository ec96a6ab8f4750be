"""A connection from hello to end: misses decided inline, writes in order, everything else Ryu's usual way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import eventlet
import pytest

from ryu_apps.control.effects import Effect, Emit, Install, Release
from ryu_apps.control.events import FlowRemoved, PacketIn
from ryu_apps.model.flow_key import Family, FlowKey
from ryu_apps.model.rules import Direction
from ryu_apps.model.transposition import IDENTITY
from ryu_apps.pipeline.cached import CachedEntry
from ryu_apps.pipeline.cookie import Cookie, EntryClass, Punt
from ryu_apps.southbound import templates
from ryu_apps.southbound.link import Link
from ryu_apps.southbound.packet_out import packet_out
from ryu_apps.southbound.wire import Type
from tests.unit.southbound import messages
from tests.unit.southbound.loop import Loop, Peer, running, wait_until

FIELDS = messages.oxm_fields([("in_port", 3), ("reg0", 1), ("reg1", 7)])
MISS = messages.packet_in(FIELDS, b"frame")
ENTRY = CachedEntry(
    Cookie(EntryClass.FORWARD).pack(), Direction.OUTBOUND, 1, 7, FlowKey(Family.LINK, 0x88B5), False, True, IDENTITY,
    60, 0,
)  # fmt: skip


@pytest.fixture
def loop() -> Iterator[Loop]:
    """Return a loop with ordinary limits."""
    with running() as started:
        yield started


def test_a_handshake_brings_a_link_up_with_its_ports(loop: Loop) -> None:
    """After the handshake the link is found by its datapath id, knows its ports, and the core was told once."""
    _, link = loop.up(0x42)
    assert link.known_ports() == {"p1": 1}
    assert loop.recorder.told == [("link_up", 0x42)]


def test_a_lost_connection_takes_the_link_down(loop: Loop) -> None:
    """When the peer hangs up, the core is told and the link is gone."""
    peer, _ = loop.up(0x42)
    peer.close()
    wait_until(lambda: loop.recorder.of("link_down"), "link_down")
    assert loop.recorder.of("link_down") == [0x42] and loop.links.get(0x42) is None


def test_a_miss_is_answered_in_order_and_in_one_piece(loop: Loop) -> None:
    """The entries come before the packet that needs them."""
    loop.recorder.answer = lambda event: [Install(1, ENTRY), Emit(1, "outbound", 3, 1, 7, 0, event.frame)]
    peer, _ = loop.up()
    peer.send(MISS)
    assert peer.next() == templates.add(ENTRY)
    assert peer.next() == packet_out(Emit(1, "outbound", 3, 1, 7, 0, b"frame"))
    assert loop.recorder.of("packet_in") == [PacketIn(1, "outbound", Punt.MISS, 3, 1, 7, 0, b"frame")]


def test_messages_are_framed_however_they_arrive(loop: Loop) -> None:
    """A thousand misses cut into odd pieces are all seen, in order."""
    peer, _ = loop.up()
    misses = [messages.packet_in(FIELDS, b"%d" % number) for number in range(1000)]
    data = b"".join(misses)
    for start in range(0, len(data), 777):
        peer.send(data[start : start + 777])
        eventlet.sleep(0)
    wait_until(lambda: len(loop.recorder.told) == 1001, "all misses")
    assert [event.frame for event in loop.recorder.of("packet_in")] == [b"%d" % number for number in range(1000)]


def test_entries_for_another_datapath_leave_before_the_packet(loop: Loop) -> None:
    """A packet is sent on only after what it needs elsewhere has been written there."""
    near, _ = loop.up(1)
    far, _ = loop.up(2)
    order: list[int] = []
    for link in loop.links.all():
        _note_writes(link, order)

    def answer(event: PacketIn) -> Sequence[Effect]:
        return [Emit(1, "outbound", 3, 1, 7, 0, event.frame), Install(1, ENTRY), Install(2, ENTRY), Release(9, ENTRY)]

    loop.recorder.answer = answer
    near.send(MISS)
    assert far.next() == templates.add(ENTRY)
    barrier = far.next()
    assert barrier[1] == Type.BARRIER_REQUEST
    assert near.next()[1] == Type.FLOW_MOD
    near.send(MISS)
    assert far.next() == templates.add(ENTRY)
    assert near.next()[1] == Type.FLOW_MOD
    assert len(link_of(loop, 1).gate) == 2
    far.send(messages.message(Type.BARRIER_REPLY, xid=int.from_bytes(barrier[4:8], "big")))
    assert near.next()[1] == Type.PACKET_OUT
    assert len(link_of(loop, 1).gate) == 1
    far.close()
    assert near.next()[1] == Type.PACKET_OUT
    assert order[0] == 2 and loop.links.counters["away"] == 2
    assert not link_of(loop, 1).gate


def test_a_switch_that_does_not_answer_keeps_no_packet_waiting_for_long(loop: Loop) -> None:
    """A packet for another switch goes when that has not confirmed in time, without anything else happening."""
    near, _ = loop.up(1)
    loop.up(2)
    loop.recorder.answer = lambda event: [Install(2, ENTRY), Emit(1, "outbound", 3, 1, 7, 0, event.frame)]
    near.send(MISS)
    assert near.next()[1] == Type.PACKET_OUT


def link_of(loop: Loop, dpid: int) -> Link:
    """Return the connection of a datapath."""
    link = loop.links.get(dpid)
    assert link is not None
    return link


def _note_writes(link: Link, order: list[int]) -> None:
    write = link.outbox.write

    def noted(data: bytes) -> None:
        order.append(link.id)
        write(data)

    setattr(link.outbox, "write", noted)  # noqa: B010  (mypy refuses the plain assignment)


def test_removed_entries_reach_the_core(loop: Loop) -> None:
    """A flow-removed of a cached entry is told; one of another class goes Ryu's way."""
    peer, _ = loop.up()
    cookie = Cookie(EntryClass.REPLY, 1, 2, 3).pack()
    peer.send(messages.flow_removed(0), messages.flow_removed(cookie, packets=5, octets=600, duration_s=7))
    wait_until(lambda: loop.recorder.of("flow_removed"), "flow_removed")
    assert loop.recorder.of("flow_removed") == [FlowRemoved(1, cookie, 0, 5, 600, 7)]


def test_a_changed_port_is_told(loop: Loop) -> None:
    """A port-status changes the known ports and tells the core."""
    peer, link = loop.up()
    peer.send(messages.message(Type.PORT_STATUS, b"\0" + bytes(7) + messages.port("p9", 9)))
    wait_until(lambda: loop.recorder.of("ports_changed"), "ports_changed")
    assert link.known_ports() == {"p1": 1, "p9": 9} == loop.recorder.of("ports_changed")[0]


def test_a_refused_effect_is_counted_and_told(loop: Loop) -> None:
    """An error without a waiting request is an effect that the switch refused."""
    peer, _ = loop.up()
    peer.send(messages.error(5, 1, templates.add(ENTRY)))
    wait_until(lambda: loop.recorder.of("refused"), "refused")
    assert loop.recorder.of("refused")[0].cookie == ENTRY.cookie
    assert loop.links.counters["refused: OFPET_FLOW_MOD_FAILED(5), OFPFMFC_TABLE_FULL(1)"] == 1


def test_an_echo_is_answered(loop: Loop) -> None:
    """The peer's echo request comes back with its data, by Ryu's own handler."""
    peer, _ = loop.up()
    peer.send(messages.message(Type.ECHO_REQUEST, b"ping", xid=99))
    assert peer.await_type(Type.ECHO_REPLY) == messages.message(Type.ECHO_REPLY, b"ping", xid=99)


def test_ryu_applications_can_send(loop: Loop) -> None:
    """A message that a Ryu application sends goes out through the same outbox."""
    peer, link = loop.up()
    assert link.send_msg(link.ofproto_parser.OFPBarrierRequest(link))
    assert peer.await_type(Type.BARRIER_REQUEST)
    link.close()
    assert not link.send_msg(link.ofproto_parser.OFPBarrierRequest(link))


def test_a_fault_in_the_core_costs_one_packet_only(loop: Loop) -> None:
    """An exception in deciding a miss is counted; the next miss is decided."""

    def answer(event: PacketIn) -> Sequence[Effect]:
        if event.frame == b"bad":
            raise RuntimeError("a fault made for this test")
        return [Install(1, ENTRY)]

    loop.recorder.answer = answer
    peer, _ = loop.up()
    peer.send(messages.packet_in(FIELDS, b"bad"), MISS)
    assert peer.next() == templates.add(ENTRY)
    assert loop.links.counters["fault"] == 1


def test_a_newer_connection_replaces_an_older_one(loop: Loop) -> None:
    """A datapath that connects again, its old connection dead unnoticed, is served on the new one."""
    old, old_link = loop.up(1)
    _, new_link = loop.up(1)
    assert old.closed()
    assert loop.links.get(1) is new_link is not old_link
    assert loop.recorder.told == [("link_up", 1), ("link_down", 1), ("link_up", 1)]


def test_effects_from_outside_find_their_datapath(loop: Loop) -> None:
    """Effects of timers are written like those of misses; a question among them is refused as none."""
    peer, _ = loop.up()
    loop.links.apply([Install(1, ENTRY), Release(1, ENTRY), Install(5, ENTRY)])
    assert peer.next() == templates.add(ENTRY)
    assert peer.next() == templates.delete_strict(ENTRY)
    assert loop.links.counters["away"] == 1


def test_others_run_while_one_floods(loop: Loop) -> None:
    """A datapath that sends without end does not keep another's miss waiting."""
    flooder, _ = loop.up(1)
    quiet, _ = loop.up(2)
    loop.recorder.answer = lambda event: [Install(2, ENTRY)] if event.dpid == 2 else []
    flood = eventlet.spawn(_flood, flooder)
    wait_until(lambda: len(loop.recorder.told) > 1000, "the flood")
    quiet.send(MISS)
    assert quiet.next() == templates.add(ENTRY)
    flood.kill()


def _flood(peer: Peer) -> None:
    data = MISS * 500
    while True:
        peer.send(data)

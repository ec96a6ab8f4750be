"""Packet-ins that wait: each vport's behind its own, and every vport has its turn."""

from __future__ import annotations

from collections import deque

import eventlet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ryu_apps.control.effects import Install
from ryu_apps.control.events import PacketIn
from ryu_apps.pipeline.cookie import INBOUND_PUNT
from ryu_apps.southbound import templates
from ryu_apps.southbound.malformed import Malformed
from ryu_apps.southbound.miss_queues import MissQueues
from tests.unit.southbound import messages
from tests.unit.southbound.loop import TIMEOUT_S, running, wait_until
from tests.unit.southbound.test_link import ENTRY

FLOODER, QUIET = 101, 102
MOST = 5
FLOOD = 800


def miss(vport: int, number: int = 0, *, inbound: bool = False) -> bytes:
    """Return a numbered packet-in that a vport's cache asks with."""
    fields = messages.oxm_fields([("in_port", 1), ("reg0", 1), ("reg2" if inbound else "reg1", vport)])
    cookie = messages.PUNTED | (INBOUND_PUNT if inbound else 0)
    return messages.packet_in(fields, number.to_bytes(4, "big"), cookie=cookie)


def put(queues: MissQueues, message: bytes) -> bool:
    """Let a packet-in wait that stands behind others in what was read."""
    return queues.put(b"xyz" + message + b"rest", 3, len(message), 1.5)


@given(st.lists(st.one_of(st.none(), st.integers(1, 4)), max_size=60))
def test_queues_are_served_in_turn_and_each_in_order(events: list[int | None]) -> None:
    """S07: of all that waits the vport goes next whose turn is longest ago; a full queue takes no more.

    None takes a packet-in, a number lets one of that vport wait. The twin is a list of queues, searched.
    """
    dropped: list[int] = []
    queues = MissQueues(MOST, dropped.append)
    twin: dict[int, deque[bytes]] = {}
    refused: list[int] = []
    for number, event in enumerate(events):
        if event is not None:
            waiting = twin.setdefault(event, deque())
            message = miss(event, number)
            if len(waiting) < MOST:
                waiting.append(message)
            else:
                refused.append(event)
            assert put(queues, message)
        elif twin:
            vport = next(iter(twin))
            waiting = twin.pop(vport)
            assert queues.take() == (1.5, waiting.popleft())
            if waiting:
                twin[vport] = waiting
        else:
            with pytest.raises(IndexError):
                queues.take()
        assert (queues.waiting, dropped) == (sum(map(len, twin.values())), refused)


def test_a_vport_has_one_queue_wherever_its_packets_miss() -> None:
    """S07: what a vport sends and what is sent to it wait in one queue, on whatever port it came."""
    dropped: list[int] = []
    queues = MissQueues(2, dropped.append)
    assert put(queues, miss(FLOODER)) and put(queues, miss(FLOODER, inbound=True)) and put(queues, miss(FLOODER, 3))
    assert dropped == [FLOODER]


def test_what_is_not_ours_does_not_wait() -> None:
    """A packet-in of another application's entry is left to Ryu, one that is cut short is malformed."""
    queues = MissQueues(MOST, lambda vport: None)
    assert not put(queues, messages.packet_in(messages.oxm_fields([("in_port", 3)]), b"frame", cookie=1))
    with pytest.raises(Malformed):
        put(queues, messages.message(10, bytes(20)))
    assert queues.waiting == 0


def test_places_are_bounded() -> None:
    """Ever new ports do not make the memory of places grow without end."""
    queues = MissQueues(1, lambda vport: None)
    for port_no in range(70_000):
        fields = messages.oxm_fields([("in_port", port_no), ("reg1", 7)])
        put(queues, messages.packet_in(fields, b""))
    assert len(queues._places) <= 65_536


def test_queues_of_vports_that_are_no_more_are_forgotten() -> None:
    """Ever new vports do not make the memory of queues grow without end, and what waits is not forgotten."""
    queues = MissQueues(1, lambda vport: None)
    for vport in range(1000, 71_000):
        put(queues, miss(QUIET))
        put(queues, miss(vport))
        assert queues.take().message == miss(QUIET)
        assert queues.take().message == miss(vport)
    assert len(queues._queues) <= 65_536


def test_a_miss_overtakes_the_flood_before_it() -> None:
    """S07: on one connection, behind hundreds of packet-ins of one vport, another's first is answered soon.

    Everything is answered in the end, each vport's in the order in which it came.
    """
    with running() as loop:
        peer, _ = loop.up()
        answered: list[tuple[int, int]] = []
        sent = False

        def answer(event: PacketIn) -> list[Install]:
            wait_until(lambda: sent, "all to be sent")
            answered.append((event.sender, int.from_bytes(event.frame, "big")))
            return []

        loop.recorder.answer = answer
        peer.send(b"".join(miss(FLOODER, number) for number in range(FLOOD)), miss(QUIET))
        sent = True
        wait_until(lambda: len(answered) == FLOOD + 1, "all answers")
    assert [number for vport, number in answered if vport == FLOODER] == list(range(FLOOD))
    # Two reads may be answered in part before it is known.
    assert answered.index((QUIET, 0)) < 200


def test_many_vports_together_cannot_fill_memory() -> None:
    """S07: when too much waits nothing more is read; all that was sent is answered in the end."""
    with running(waiting_bytes=1 << 14) as loop:
        peer, link = loop.up()
        most = 0

        def answer(event: PacketIn) -> list[Install]:
            nonlocal most
            most = max(most, link.waiting)
            return []

        loop.recorder.answer = answer
        sent = b"".join(miss(vport) for vport in range(1, 20_001))
        peer.send(sent)
        wait_until(lambda: len(loop.recorder.of("packet_in")) == 20_000, "all answers", 20.0)
    # One read more than the limit.
    assert 0 < most <= ((1 << 14) + (1 << 16)) * 20_000 // len(sent) + 1


def test_what_finds_its_queue_full_is_counted_against_its_vport() -> None:
    """S07: an overflow is told with its vport, and the other vport loses nothing."""
    with running(waiting_pkts=10) as loop:
        peer, _ = loop.up()
        loop.recorder.answer = lambda event: [Install(1, ENTRY)] if event.sender == QUIET else []
        with eventlet.Timeout(TIMEOUT_S, TimeoutError("nothing was dropped")):
            while not loop.recorder.of("miss_dropped"):
                peer.send(miss(FLOODER) * 500)
                eventlet.sleep(0)
        for _ in range(5):
            peer.send(miss(QUIET))
            assert peer.next() == templates.add(ENTRY)
        assert set(loop.recorder.of("miss_dropped")) == {FLOODER}

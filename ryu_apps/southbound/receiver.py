"""What a connection brings: messages framed in place, misses decided inline, all else on Ryu's usual way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import eventlet
from ryu.controller import ofp_event
from ryu.controller.handler import HANDSHAKE_DISPATCHER, MAIN_DISPATCHER

from ryu_apps.control.effects import Effect
from ryu_apps.southbound import flow_removed, hello, packet_in
from ryu_apps.southbound.answers import encode
from ryu_apps.southbound.fast_answers import FastAnswers
from ryu_apps.southbound.malformed import Malformed
from ryu_apps.southbound.miss_queues import MissQueues
from ryu_apps.southbound.parser import FROM_SWITCH, parse
from ryu_apps.southbound.requests import ANSWERS
from ryu_apps.southbound.wire import HEADER, HEADER_BYTES, VERSION, Type
from ryu_apps.southbound.words import refusal

if TYPE_CHECKING:
    from ryu_apps.southbound.link import Link

_PACKET_IN: Final = int(Type.PACKET_IN)
_PACKET_OUT: Final = int(Type.PACKET_OUT)
_FLOW_REMOVED: Final = int(Type.FLOW_REMOVED)
_INLINE: Final = frozenset({_PACKET_IN, _FLOW_REMOVED})
_BEFORE_VERSION: Final = frozenset({Type.HELLO, Type.ERROR, Type.ECHO_REQUEST, Type.ECHO_REPLY})
_PAUSE_EVERY: Final = 16
"""Messages after which answers go out, and others get their turn if time is up.

More at once are fewer writes; but the first answer waits for the last, and the switch for something to do.
With 16 a fifth more misses are answered than with 64, and after a pause the crowd is gone sooner.
"""
_AT_ONCE: Final = 64
"""Packet-ins of one read that are answered as they come; those behind them wait for the turn of their vport."""

_BETWEEN_LOOKS: Final = 4
"""Packet-ins that waited and are answered from one look at the clock to the next."""


class Receiver:
    """Takes what one connection received; answers gather until the batch ends and go out in one write per datapath."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._links = link.links
        self._fast = FastAnswers(link.links.handler.fast_path)
        self._own: list[bytes] = []
        self._others: dict[int, list[bytes]] = {}
        self._misses = 0
        self._read_s = 0.0
        self._queues = MissQueues(link.limits.waiting_pkts, link.links.handler.miss_dropped)

    @property
    def waiting(self) -> int:
        """How many packet-ins wait."""
        return self._queues.waiting

    @property
    def full(self) -> bool:
        """Whether so much waits, of all vports together, that nothing more should be read."""
        return self._queues.waiting_bytes > self._link.limits.waiting_bytes

    def take(self, data: bytes) -> bytes:
        """Handle all whole messages and return the bytes left over; Malformed when the peer breaks OpenFlow."""
        link, unpack, clock = self._link, HEADER.unpack_from, self._link.clock
        answer, let_go, own, others = self._fast.answer, self._fast.let_go, self._own, self._others
        at, end, count = 0, len(data), 0
        now_s = self._read_s = clock()
        turn_ends_s = now_s + link.limits.turn_s
        at_once = 0 if self._queues.waiting else _AT_ONCE
        while end - at >= HEADER_BYTES:
            version, kind, length, xid = unpack(data, at)
            if length < HEADER_BYTES:
                raise Malformed("length")
            if at + length > end:
                if kind not in FROM_SWITCH:
                    raise Malformed("type")
                break
            if version != VERSION and link.state != HANDSHAKE_DISPATCHER:
                raise Malformed("version")
            if kind == _PACKET_IN and count >= at_once and self._queues.put(data, at, length, self._read_s):
                at += length
                continue
            try:
                if kind == _FLOW_REMOVED and let_go(data, at, length, now_s):
                    at += length
                    continue
                answered = kind == _PACKET_IN and answer(data, at, length, now_s, own, others)
            except Exception:
                self._links.fault(f"answering a packet-in of datapath {link.name}")
                answered = True
            at += length
            count += 1
            if answered:
                self._misses += 1
            else:
                self._take_one(kind, xid, data, at - length, length, now_s)
                if link.is_closed:
                    break
            if not count % _PAUSE_EVERY:
                self._flush()
                if link.outbox.crowded:
                    link.outbox.wait_room()
                now_s = clock()
                if now_s > turn_ends_s:
                    eventlet.sleep(0)
                    now_s = clock()
                    turn_ends_s = now_s + link.limits.turn_s
                if link.is_closed:
                    break
        self._flush()
        self._links.handler.answered()
        return data[at:] if at else data

    def _take_one(self, kind: int, xid: int, data: bytes, at: int, length: int, now_s: float) -> None:
        """Take the message at data[at:at+length], which is no packet-in of a kind that is known."""
        if kind in _INLINE:
            self._event(kind, xid, data, at, length, now_s)
        else:
            self._message(kind, xid, data[at : at + length])

    def answer_waiting(self) -> None:
        """Answer packet-ins that wait, each vport's in turn, for so long as others may wait to be read."""
        link, queues, clock = self._link, self._queues, self._link.clock
        now_s = clock()
        until_s = now_s + link.limits.unread_s
        read: dict[float, int] = {}
        while queues.waiting and now_s < until_s:
            for _ in range(min(queues.waiting, _BETWEEN_LOOKS)):
                read_s, message = queues.take()
                read[read_s] = read.get(read_s, 0) + 1
                self._answer(message, now_s)
            now_s = clock()
        self._misses = 0
        self._flush()
        now_s = clock()
        for read_s, count in read.items():
            self._links.latencies[link.id].observe(now_s - read_s, count)
        self._links.handler.answered()

    def _answer(self, message: bytes, now_s: float) -> None:
        """Answer one packet-in, fast if its kind is known."""
        try:
            if self._fast.answer(message, 0, len(message), now_s, self._own, self._others):
                return
        except Exception:
            self._links.fault(f"answering a packet-in of datapath {self._link.name}")
            return
        self._event(_PACKET_IN, 0, message, 0, len(message), now_s)

    def _event(self, kind: int, xid: int, data: bytes, at: int, length: int, now_s: float) -> None:
        """Hand a packet-in or flow-removed of ours to the core, any other to Ryu."""
        link = self._link
        if link.state != MAIN_DISPATCHER:
            if link.state == HANDSHAKE_DISPATCHER:
                raise Malformed("before hello")
            self._links.counters["early"] += 1
        elif kind == _PACKET_IN:
            missed = packet_in.decode(data, at, length, link.id)
            if missed is None:
                self._unasked(kind, xid, data, at, length, now_s)
            else:
                self._misses += 1
                self._decide(self._links.handler.packet_in, missed, now_s)
                self._fast.note(data, at, missed)
        else:
            gone = flow_removed.decode(data, at, length, link.id)
            if gone is None:
                self._to_ryu(kind, xid, data[at : at + length])
            else:
                self._decide(self._links.handler.flow_removed, gone, now_s)

    def _unasked(self, kind: int, xid: int, data: bytes, at: int, length: int, now_s: float) -> None:
        """Tell of a probe that came back; any other packet-in that is no miss goes to Ryu."""
        probe = packet_in.decode_probe(data, at, length, self._link.id)
        if probe is None:
            self._to_ryu(kind, xid, data[at : at + length])
        else:
            self._links.probe_caught(probe, now_s)

    def _decide(self, decide: Callable[[Any, float], Sequence[Effect]], event: Any, now_s: float) -> None:
        """Ask the core and keep its answers as bytes; a fault in it costs this packet, not the connection."""
        own = event[0]
        try:
            for effect in decide(event, now_s):
                if effect[0] == own:
                    self._own.append(encode(effect))
                else:
                    self._others.setdefault(effect[0], []).append(encode(effect))
        except Exception:
            self._links.fault(f"deciding a {type(event).__name__} of datapath {own:016x}")

    def _flush(self) -> None:
        """Write all answers; a packet must not overtake the entries that it needs, here or at another datapath."""
        own, others, link = self._own, self._others, self._link
        for dpid, messages in others.items():
            self._links.write(dpid, messages)
        if own and (others or link.gate):
            packets = b"".join([message for message in own if message[1] == _PACKET_OUT])
            link.outbox.write(b"".join([message for message in own if message[1] != _PACKET_OUT]))
            link.gate.send(packets, [other for dpid in others if (other := self._links.get(dpid)) is not None])
        elif own:
            link.outbox.write(b"".join(own))
        own.clear()
        others.clear()
        if self._misses:
            self._links.latencies[link.id].observe(link.clock() - self._read_s, self._misses)
            self._misses = 0

    def _message(self, kind: int, xid: int, message: bytes) -> None:
        """Take an answer to a request of ours inline, the hello with care, and anything else to Ryu."""
        self._flush()
        link = self._link
        if kind in ANSWERS:
            exchange = link.exchanges.get(xid)
            if exchange is not None:
                exchange.take(kind, xid, message)
                return
        if kind == Type.HELLO:
            self._hello(xid, message)
        elif kind == Type.ERROR and link.state == HANDSHAKE_DISPATCHER:
            raise Malformed("hello answered by an error")
        elif kind == Type.ERROR and not xid:
            self._links.refused(link, refusal(message))
        elif kind not in _BEFORE_VERSION and link.state == HANDSHAKE_DISPATCHER:
            raise Malformed("before hello")
        else:
            self._to_ryu(kind, xid, message)
            if kind == Type.PORT_STATUS and link.state == MAIN_DISPATCHER:
                self._links.ports_changed(link)

    def _hello(self, xid: int, message: bytes) -> None:
        """Pass a good hello to Ryu as a bare one of 1.4; refuse one that does not agree to 1.4."""
        link = self._link
        if link.state != HANDSHAKE_DISPATCHER:
            raise Malformed("second hello")
        if hello.agreed(message):
            self._to_ryu(Type.HELLO, xid, HEADER.pack(VERSION, Type.HELLO, HEADER_BYTES, xid))
        else:
            link.give_up("version", last_words=hello.refusal(message))

    def _to_ryu(self, kind: int, xid: int, message: bytes) -> None:
        """Hand a message to Ryu's own handlers and to all applications that observe it."""
        link = self._link
        event = ofp_event.ofp_msg_to_ev(parse(link, kind, xid, message))
        brick = link.ofp_brick
        if brick is None:
            return
        brick.send_event_to_observers(event, link.state)
        for handle in brick.get_handlers(event):
            if link.state in handle.callers[event.__class__].dispatchers:
                try:
                    handle(event)
                except Exception as fault:
                    raise Malformed("not handled") from fault

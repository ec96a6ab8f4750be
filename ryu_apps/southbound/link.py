"""One connection to a switch: the receive loop that decides misses inline, and the requests that wait for answers."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from socket import SHUT_RDWR, SHUT_WR
from typing import TYPE_CHECKING, Any, Final, TypeVar

import eventlet
import ryu.base.app_manager  # noqa: F401  (must come first: Ryu's modules import each other in a circle)
from ryu.controller.controller import Datapath
from ryu.controller.handler import DEAD_DISPATCHER, MAIN_DISPATCHER
from ryu.lib.dpid import dpid_to_str

from ryu_apps.control.effects import MeterChange, SwitchChange
from ryu_apps.control.events import PresentEntry
from ryu_apps.control.sharing import MeterCount
from ryu_apps.model.errors import SwitchAway, SwitchRefused
from ryu_apps.pipeline.meters import MeterConfig
from ryu_apps.pipeline.tables import NUMBER
from ryu_apps.southbound import bundle, flow_dump, hello, meters, ports
from ryu_apps.southbound.gate import Gate
from ryu_apps.southbound.malformed import Malformed
from ryu_apps.southbound.outbox import WOULD_BLOCK, Outbox
from ryu_apps.southbound.readable import Readable
from ryu_apps.southbound.receive_loop import RECEIVE_BYTES, receive
from ryu_apps.southbound.receiver import Receiver
from ryu_apps.southbound.requests import Exchange, Waiter
from ryu_apps.southbound.wire import HEADER, VERSION, Type
from ryu_apps.southbound.words import refusal

if TYPE_CHECKING:
    from ryu_apps.southbound.links import Links

T = TypeVar("T")

_LOG = logging.getLogger("vfswitch.southbound")
_MAX_XID: Final = 0x7FFFFFFF
_MULTIPART_BODY: Final = 16
# Misses wait while replies are decoded.
_DECODED_AT_ONCE_BYTES: Final = 1 << 15
# So many questions of 56 bytes fit the outbox, and their answers come in some milliseconds.
_ASKED_AT_ONCE: Final = 500
# Fragments keep their kind for matching (Open vSwitch, OFPC_FRAG_NX_MATCH); misses come whole.
_SET_CONFIG: Final = HEADER.pack(VERSION, Type.SET_CONFIG, 12, 0) + bytes((0, 3, 0xFF, 0xFF))


class Link(Datapath):
    """A datapath as Ryu's applications know it, with a receive loop and an outbox of our own.

    Methods with a timeout wait for the switch: call them from a green thread that is no receive loop.
    They raise SwitchRefused, NotConfirmed after the timeout, and SwitchAway when the connection is or gets lost.
    """

    def __init__(self, socket: Any, address: Any, links: Links) -> None:
        self.links = links
        self.limits = links.limits
        self.clock = links.clock
        self.exchanges: dict[int, Waiter] = {}
        self.ports: dict[int, Any] = {}
        super().__init__(socket, address)
        self.set_version(VERSION)
        # Reads and writes go to the socket below eventlet's, and wait only when it has nothing or takes nothing.
        self.socket.setblocking(False)
        self.raw: Any = getattr(socket, "fd", socket)
        self.outbox = Outbox(self.raw, self.limits, self.give_up)
        self.gate = Gate(self.outbox, self.clock)
        self._receiver = Receiver(self)
        self._readable = Readable(self.raw)
        self._heard = 0
        self._lingers = False
        self._greeted = False

    @property
    def name(self) -> str:
        """The datapath id in hexadecimal, or the address while that is unknown."""
        return str(self.address) if self.id is None else dpid_to_str(self.id)

    @property
    def is_up(self) -> bool:
        """Whether requests can be sent."""
        return bool(self.state == MAIN_DISPATCHER)

    @property
    def is_closed(self) -> bool:
        """Whether the connection has ended."""
        return bool(self.state == DEAD_DISPATCHER)

    @property
    def waiting(self) -> int:
        """How many packet-ins wait for the turn of their vport."""
        return self._receiver.waiting

    def next_xid(self) -> int:
        """Return a transaction id that is not 0, which effects use."""
        self.xid: int = self.xid % _MAX_XID + 1
        return self.xid

    def known_ports(self) -> dict[str, int]:
        """Return the ports, name to number, as told by the handshake and since."""
        return {ports.name_text(port.name): port.port_no for port in self.ports.values()}

    def down_ports(self) -> frozenset[str]:
        """Return the names of ports that are switched off or have no link, as told by the handshake and since.

        Config PORT_DOWN and state LINK_DOWN (OpenFlow 1.4.0, section 7.2.1) are both the lowest bit.
        """
        down = (port for port in self.ports.values() if (port.config | port.state) & 1)
        return frozenset(ports.name_text(port.name) for port in down)

    def barrier(self, timeout_s: float = 5.0) -> None:
        """Return when the switch has done all that it was sent before."""
        with Exchange(self, timeout_s) as exchange:
            xid = exchange.expect(Type.BARRIER_REPLY)
            exchange.send(HEADER.pack(VERSION, Type.BARRIER_REQUEST, 8, xid))
            exchange.wait(xid)

    def commit(self, change: SwitchChange, timeout_s: float = 10.0) -> None:
        """Return when the switch has made a change as one; after SwitchRefused it has made nothing of its entries.

        Meters have no part in bundles: new ones come before the entries, old ones go after them.
        """
        meters.commit(self, change.meters._replace(gone=()), timeout_s)
        bundle.commit(self, change, timeout_s)
        meters.commit(self, MeterChange(gone=change.meters.gone), timeout_s)

    def dump_flows(
        self, *, table: str | None = None, cookie: int = 0, cookie_mask: int = 0, timeout_s: float = 30.0
    ) -> list[PresentEntry]:
        """Return the entries whose cookie agrees under the mask, of one table or of all."""
        table_id = flow_dump.ALL_TABLES if table is None else NUMBER[table]
        parts = self._multipart(
            [lambda xid: flow_dump.request(xid, table_id, cookie, cookie_mask)], flow_dump.decode, timeout_s
        )
        return [entry for part in parts for entry in part]

    def dump_meters(
        self, timeout_s: float = 5.0, numbers: Collection[int] = (meters.ALL,)
    ) -> dict[int, MeterConfig | None]:
        """Return the meters that the switch has, by number, all or some; None for one that is not of our making."""
        found: dict[int, MeterConfig | None] = {}
        requests = [partial(meters.request, number=number) for number in numbers]
        for part in self._multipart(requests, meters.decode, timeout_s):
            found |= part
        return found

    def count_meters(self, timeout_s: float = 5.0, numbers: Collection[int] = (meters.ALL,)) -> dict[int, MeterCount]:
        """Return what the switch's meters have counted, by number, all or some."""
        found: dict[int, MeterCount] = {}
        requests = [partial(meters.count_request, number=number) for number in numbers]
        for part in self._multipart(requests, meters.decode_counts, timeout_s):
            found |= part
        return found

    def dump_cookies(self, cookies: Sequence[int], timeout_s: float = 30.0) -> list[PresentEntry]:
        """Return the entries that have one of these cookies.

        Each is asked for by itself, because the switch finds a whole cookie by its hash and looks through all
        of its entries for one under a mask; but all are asked at once.
        """
        found: list[PresentEntry] = []
        for start in range(0, len(cookies), _ASKED_AT_ONCE):
            requests = [partial(flow_dump.request_cookie, cookie) for cookie in cookies[start : start + _ASKED_AT_ONCE]]
            found += [entry for part in self._multipart(requests, flow_dump.decode, timeout_s) for entry in part]
        return found

    def port_numbers(self, timeout_s: float = 5.0) -> dict[str, int]:
        """Return the ports that the switch has now, name to number, its LOCAL port included."""
        found: dict[str, int] = {}
        for part in self._multipart([ports.request], ports.decode, timeout_s):
            found |= part
        return found

    def set_fragments_nx_match(self) -> None:
        """Ask the switch to let entries match on the kind of a fragment; does not wait."""
        self.outbox.write(_SET_CONFIG)

    def _multipart(
        self, requests: Sequence[Callable[[int], bytes]], decode: Callable[[bytes], T], timeout_s: float
    ) -> Iterator[T]:
        """Yield the decoded parts of multipart replies, once all of them are here; the requests go in one write."""
        with Exchange(self, timeout_s) as exchange:
            xids = [exchange.expect(Type.MULTIPART_REPLY) for _ in requests]
            exchange.send(b"".join([request(xid) for request, xid in zip(requests, xids, strict=True)]))
            for xid in xids:
                exchange.wait(xid)
        if exchange.errors:
            raise SwitchRefused(f"datapath {self.name} refused a request: {refusal(exchange.errors[0]).text}")
        try:
            decoded_bytes = 0
            for message in (message for xid in xids for message in exchange.replies.pop(xid)):
                yield decode(message[_MULTIPART_BODY:])
                decoded_bytes += len(message)
                if decoded_bytes > _DECODED_AT_ONCE_BYTES:
                    decoded_bytes = 0
                    eventlet.sleep(0)
        except Malformed as fault:
            self.give_up(f"malformed: {fault}")
            raise SwitchAway(f"datapath {self.name} was closed: its reply is malformed") from fault

    # What Ryu calls, or expects of a datapath.

    def send(self, buf: bytes, close_socket: bool = False) -> bool:
        """Send a message that Ryu has serialized; False when the connection is closed.

        Like Ryu's own, it waits while much is unsent, unless a receive loop calls it, which would then wait for itself.
        """
        if self.is_closed:
            return False
        self.outbox.write(bytes(buf))
        if close_socket:
            self.close()
        elif self.outbox.crowded and eventlet.getcurrent() not in self.links.loops:
            self.outbox.wait_room()
        return True

    def set_state(self, state: str) -> None:
        """Change Ryu's phase of the connection; the main phase is when it counts as up."""
        changed = state != self.state
        super().set_state(state)
        if changed and state == MAIN_DISPATCHER:
            self.links.add(self)

    def close(self) -> None:
        """End the connection; all who wait for an answer learn it."""
        self._close(SHUT_RDWR)

    def _close(self, how: int) -> None:
        if self.is_closed:
            return
        self.set_state(DEAD_DISPATCHER)
        self.is_active = False
        self.links.remove(self)
        self.outbox.close()
        for exchange in set(self.exchanges.values()):
            exchange.lose()
        with contextlib.suppress(OSError):
            self.raw.shutdown(how)

    def give_up(self, reason: str, last_words: bytes = b"") -> None:
        """End the connection for a fault of the peer: counted by reason, told in one line."""
        if self.is_closed:
            return
        self.links.counters[reason] += 1
        _LOG.warning("datapath %s from %s closed: %s", self.name, self.address, reason)
        if last_words:
            self.outbox.write(last_words)
            self._lingers = True
        self._close(SHUT_WR if last_words else SHUT_RDWR)

    def serve(self) -> None:
        """Serve the connection until it ends."""
        self.links.loops.add(eventlet.getcurrent())
        keeper = eventlet.spawn(self._keep_watch)
        try:
            receive(self, self._receiver, self._readable)
        except Malformed as fault:
            self.give_up(f"malformed: {fault}")
        except Exception:
            self.links.fault(f"serving {self.name}")
        finally:
            self.close()
            keeper.kill()
            self._linger()
            self._readable.stop()
            self.links.loops.discard(eventlet.getcurrent())
            self.socket.close()

    def _linger(self) -> None:
        """Let the peer read the last words: closing at once, with bytes of its unread, would take them back."""
        with contextlib.suppress(OSError), eventlet.Timeout(self.limits.linger_s, False):
            while self._lingers:
                try:
                    self._lingers = bool(self.raw.recv(RECEIVE_BYTES))
                except WOULD_BLOCK:
                    self._readable.wait()

    def hear(self) -> None:
        """Take note that the peer has sent something."""
        self._heard += 1
        if not self._greeted:
            self._greet()

    def _greet(self) -> None:
        """Say hello, once: when the peer has spoken or has had its time to.

        Who only looks whether anybody listens hears nothing: mn, which does so by telnet, hangs on what is no text.
        """
        if not self._greeted:
            self._greeted = True
            self.outbox.write(hello.ours(self.next_xid()))

    def _keep_watch(self) -> None:
        """Close the connection when the handshake does not end in time, or when the peer falls silent.

        Silence is counted in turns of this thread, so that a pause of the whole process is not taken for one.
        """
        eventlet.sleep(self.limits.greet_s)
        self._greet()
        eventlet.sleep(self.limits.handshake_s - self.limits.greet_s)
        if not self.is_up:
            self.give_up("handshake timeout")
        silent_turns, last_heard = 0, self._heard
        while not self.is_closed:
            eventlet.sleep(self.limits.echo_s)
            # While the outbox is crowded nothing is read; whether the peer lives is then the outbox's to judge.
            if self._heard != last_heard or self.outbox.crowded:
                silent_turns, last_heard = 0, self._heard
                continue
            silent_turns += 1
            if silent_turns * self.limits.echo_s >= self.limits.silent_s:
                self.give_up("silent")
            else:
                self.outbox.write(HEADER.pack(VERSION, Type.ECHO_REQUEST, 8, 0))

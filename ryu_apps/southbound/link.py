"""One connection to a switch: its life from the first byte to the last, as Ryu's applications know it."""

from __future__ import annotations

import contextlib
import logging
from socket import SHUT_RDWR, SHUT_WR
from typing import TYPE_CHECKING, Any, Final

import eventlet
import ryu.base.app_manager  # noqa: F401  (must come first: Ryu's modules import each other in a circle)
from eventlet.semaphore import Semaphore
from ryu.controller.controller import Datapath
from ryu.controller.handler import DEAD_DISPATCHER, MAIN_DISPATCHER
from ryu.lib.dpid import dpid_to_str

from ryu_apps.southbound import hello
from ryu_apps.southbound.gate import Gate
from ryu_apps.southbound.malformed import Malformed
from ryu_apps.southbound.outbox import WOULD_BLOCK, Outbox
from ryu_apps.southbound.readable import Readable
from ryu_apps.southbound.receive_loop import RECEIVE_BYTES, receive
from ryu_apps.southbound.receiver import Receiver
from ryu_apps.southbound.requests import Waiter
from ryu_apps.southbound.wire import HEADER, VERSION, Type

if TYPE_CHECKING:
    from ryu_apps.southbound.links import Links

_LOG = logging.getLogger("vfswitch.southbound")
_MAX_XID: Final = 0x7FFFFFFF
# Fragments keep their kind for matching (Open vSwitch, OFPC_FRAG_NX_MATCH); misses come whole.
_SET_CONFIG: Final = HEADER.pack(VERSION, Type.SET_CONFIG, 12, 0) + bytes((0, 3, 0xFF, 0xFF))


class Link(Datapath):
    """A datapath as Ryu's applications know it, with a receive loop and an outbox of our own."""

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
        # Held while the switch is told to change what it has, until it has said whether it did.
        self.changing = Semaphore(1)
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
        return {_text(port.name): port.port_no for port in self.ports.values()}

    def down_ports(self) -> frozenset[str]:
        """Return the names of ports that are switched off or have no link, as told by the handshake and since.

        Config PORT_DOWN and state LINK_DOWN (OpenFlow 1.4.0, section 7.2.1) are both the lowest bit.
        """
        down = (port for port in self.ports.values() if (port.config | port.state) & 1)
        return frozenset(_text(port.name) for port in down)

    def await_changed(self) -> None:
        """Return when no change is under way: what is asked now will be answered by a state that is known."""
        with self.changing:
            pass

    def set_fragments_nx_match(self) -> None:
        """Ask the switch to let entries match on the kind of a fragment; does not wait."""
        self.outbox.write(_SET_CONFIG)

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


def _text(name: bytes) -> str:
    """Return a port's name from its zero-padded bytes."""
    return name.partition(b"\0")[0].decode("utf-8", "replace")

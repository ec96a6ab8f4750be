"""Real connections over loopback: our receive loops on one side, a scripted peer on the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import eventlet
from ryu.base.app_manager import SERVICE_BRICKS, AppManager
from ryu.controller.ofp_handler import OFPHandler

from ryu_apps.control.effects import AnyEntry, Effect
from ryu_apps.control.events import FlowRemoved, PacketIn, PresentEntry, ProbeCaught
from ryu_apps.control.fast_path import FastPath
from ryu_apps.control.flow_table import FlowTable
from ryu_apps.control.holding import Holding
from ryu_apps.control.life import Life
from ryu_apps.control.tally import Tally
from ryu_apps.engine.policy import compile_policy
from ryu_apps.model.policy import Snapshot
from ryu_apps.southbound.handler import Refusal
from ryu_apps.southbound.limits import Limits
from ryu_apps.southbound.link import Link
from ryu_apps.southbound.links import Links
from ryu_apps.southbound.wire import Type
from tests.unit.southbound import messages

T = TypeVar("T")
TIMEOUT_S = 5.0


def wait_until(look: Callable[[], T], what: str, timeout_s: float = TIMEOUT_S) -> T:
    """Return what `look` returns once it is true, letting green threads run; it is told what was last seen."""
    deadline_s = time.monotonic() + timeout_s
    while not (seen := look()):
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"no {what} within {timeout_s} s; last seen: {seen!r}")
        eventlet.sleep(0.001)
    return seen


class Recorder:
    """A handler that keeps what it is told and answers misses as the test says."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []
        self.answer: Callable[[PacketIn], Sequence[Effect]] = lambda event: ()
        self.fast_path = FastPath(compile_policy(Snapshot()), FlowTable(), Holding(), Life(), Tally(), 0)

    def answered(self) -> None:
        """Nothing is held back here."""

    def packet_in(self, event: PacketIn, now_s: float) -> Sequence[Effect]:
        """Keep the event and give the test's answer."""
        self.told.append(("packet_in", event))
        return self.answer(event)

    def probe_caught(self, event: ProbeCaught, now_s: float) -> None:
        """Keep the event."""
        self.told.append(("probe_caught", event))

    def miss_dropped(self, vport: int) -> None:
        """Keep the vport."""
        self.told.append(("miss_dropped", vport))

    def flow_removed(self, event: FlowRemoved, now_s: float) -> Sequence[Effect]:
        """Keep the event."""
        self.told.append(("flow_removed", event))
        return ()

    def link_up(self, link: Link) -> None:
        """Keep the datapath id."""
        self.told.append(("link_up", link.id))

    def link_down(self, link: Link) -> None:
        """Keep the datapath id."""
        self.told.append(("link_down", link.id))

    def ports_changed(self, link: Link) -> None:
        """Keep the ports."""
        self.told.append(("ports_changed", link.known_ports()))

    def removed(self, link: Link, entries: Sequence[AnyEntry], meters: Sequence[int]) -> None:
        """Keep entries and meters."""
        self.told.append(("removed", (tuple(entries), tuple(meters))))

    def found(self, link: Link, present: Sequence[PresentEntry], meters: Container[int]) -> None:
        """Keep what was there."""
        self.told.append(("found", (tuple(present), meters)))

    def refused(self, link: Link, refusal: Refusal) -> None:
        """Keep the refusal."""
        self.told.append(("refused", refusal))

    def of(self, kind: str) -> list[Any]:
        """Return what was told of one kind."""
        return [what for name, what in self.told if name == kind]


class Peer:
    """A switch's end of a connection, scripted by the test."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self._received = b""

    def send(self, *parts: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(b"".join(parts))

    def next(self) -> bytes:
        """Return the next message; EOFError when the connection ends first."""
        with eventlet.Timeout(TIMEOUT_S, TimeoutError(f"no message within {TIMEOUT_S} s")):
            while len(self._received) < 8 or len(self._received) < self._length():
                chunk = self.socket.recv(65536)
                if not chunk:
                    raise EOFError("the controller closed the connection")
                self._received += chunk
        message, self._received = self._received[: self._length()], self._received[self._length() :]
        return message

    def _length(self) -> int:
        return int.from_bytes(self._received[2:4], "big")

    def await_type(self, kind: int) -> bytes:
        """Return the next message of a type, passing over others."""
        while (message := self.next())[1] != kind:
            pass
        return message

    def handshake(self, dpid: int, ports: Sequence[tuple[str, int]] = (("p1", 1),)) -> None:
        """Say hello and answer what Ryu asks for."""
        self.send(messages.hello())
        asked = self.await_type(5)
        self.send(messages.features_reply(int.from_bytes(asked[4:8], "big"), dpid))
        asked = self.await_type(Type.MULTIPART_REQUEST)
        body = b"".join(messages.port(name, port_no) for name, port_no in ports)
        self.send(messages.multipart(13, body, xid=int.from_bytes(asked[4:8], "big")))

    def closed(self) -> bool:
        """Return whether the controller ends the connection; what it still says is passed over."""
        try:
            with eventlet.Timeout(TIMEOUT_S, TimeoutError("the connection stays open")):
                while self.socket.recv(65536):
                    pass
        except ConnectionError:
            pass
        return True

    def close(self) -> None:
        """End the connection."""
        self.socket.close()


class Loop:
    """Our side: a listening socket whose connections are served as Ryu would have them served."""

    def __init__(self, limits: Limits) -> None:
        self.recorder = Recorder()
        self.links = Links(self.recorder, time.monotonic, limits)
        self._listener = eventlet.listen(("127.0.0.1", 0))
        self._server = eventlet.spawn(self._accept)
        self._peers: list[Peer] = []

    @property
    def port(self) -> int:
        """Return the TCP port that we listen on."""
        return int(self._listener.getsockname()[1])

    def _accept(self) -> None:
        while True:
            socket, address = self._listener.accept()
            eventlet.spawn(self.links.serve, socket, address)

    def connect(self, **options: int) -> Peer:
        """Return a fresh connection; receive_buffer sets how much the peer takes without reading."""
        socket = eventlet.green.socket.socket()
        if "receive_buffer" in options:
            socket.setsockopt(1, 8, options["receive_buffer"])
        socket.connect(self._listener.getsockname())
        peer = Peer(socket)
        self._peers.append(peer)
        return peer

    def up(self, dpid: int = 1, **options: Any) -> tuple[Peer, Link]:
        """Return a connection with its handshake done, from both ends."""
        peer = self.connect(**options)
        before = self.links.get(dpid)
        peer.handshake(dpid)
        wait_until(lambda: self.links.get(dpid) not in (None, before), f"datapath {dpid}")
        link = self.links.get(dpid)
        assert link is not None
        return peer, link

    def stop(self) -> None:
        """End all connections and stop listening."""
        for peer in self._peers:
            peer.close()
        for link in self.links.all():
            link.close()
        self._server.kill()
        self._listener.close()
        wait_until(lambda: not self.links.loops, "end of all receive loops")


@contextmanager
def running(**limits: float | int) -> Iterator[Loop]:
    """Give a loop with these limits, and end it."""
    if "ofp_event" not in SERVICE_BRICKS:
        AppManager.get_instance().instantiate(OFPHandler)
    loop = Loop(Limits(**limits))  # type: ignore[arg-type]
    try:
        yield loop
    finally:
        loop.stop()

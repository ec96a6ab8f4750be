"""All connections of this process, and how effects find theirs."""

from __future__ import annotations

import logging
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any

import ryu.base.app_manager  # noqa: F401  (must come first: Ryu's modules import each other in a circle)
from ryu.controller import controller

from ryu_apps.control.effects import AnyEntry, Effect
from ryu_apps.control.events import PresentEntry, ProbeCaught
from ryu_apps.control.histogram import Histogram
from ryu_apps.southbound.answers import encode
from ryu_apps.southbound.handler import Handler, Refusal
from ryu_apps.southbound.limits import Limits
from ryu_apps.southbound.link import Link

_LOG = logging.getLogger("vfswitch.southbound")


class Links:
    """The datapaths that are connected, by datapath id, and what went wrong with any, counted by reason."""

    def __init__(self, handler: Handler, clock: Callable[[], float], limits: Limits) -> None:
        self.handler = handler
        self.clock = clock
        self.limits = limits
        self.counters: Counter[str] = Counter()
        self.latencies: defaultdict[int, Histogram] = defaultdict(Histogram)
        """By datapath, the time from reading a miss off the socket until its answer is handed to the outbox."""
        self.loops: set[object] = set()
        """The green threads that are receive loops."""
        self._by_dpid: dict[int, Link] = {}

    def get(self, dpid: int) -> Link | None:
        """Return a datapath's connection, None while there is none."""
        return self._by_dpid.get(dpid)

    def all(self) -> tuple[Link, ...]:
        """Return the connections that are up."""
        return tuple(self._by_dpid.values())

    def apply(self, effects: Iterable[Effect]) -> None:
        """Carry out effects that no receive loop asked for, one write per datapath; never waits.

        Effects for a datapath that is not connected are dropped and counted.
        """
        parts: dict[int, list[bytes]] = {}
        for effect in effects:
            parts.setdefault(effect.dpid, []).append(encode(effect))
        for dpid, messages in parts.items():
            self.write(dpid, messages)

    def write(self, dpid: int, messages: list[bytes]) -> None:
        """Write messages to one datapath as one; count them where it is not connected."""
        link = self._by_dpid.get(dpid)
        if link is None:
            self.counters["away"] += len(messages)
        else:
            link.outbox.write(b"".join(messages))

    def add(self, link: Link) -> None:
        """Take a connection in; the newest of a datapath replaces older ones, which may be dead unnoticed."""
        older = self._by_dpid.get(link.id)
        if older is not None:
            older.give_up("replaced")
        self._by_dpid[link.id] = link
        self._tell("link_up", link)

    def remove(self, link: Link) -> None:
        """Take a connection out, if it is in."""
        if link.id is not None and self._by_dpid.get(link.id) is link:
            del self._by_dpid[link.id]
            self._tell("link_down", link)

    def ports_changed(self, link: Link) -> None:
        """Pass on that a datapath's ports have changed."""
        self._tell("ports_changed", link)

    def removed(self, link: Link, entries: Sequence[AnyEntry] = (), meters: Sequence[int] = ()) -> None:
        """Pass on that a datapath has removed entries and has meters count from nothing, or no more."""
        self._tell("removed", link, entries, meters)

    def found(self, link: Link, present: Sequence[PresentEntry], meters: Container[int]) -> None:
        """Pass on what a datapath has that was away."""
        self._tell("found", link, present, meters)

    def refused(self, link: Link, refusal: Refusal) -> None:
        """Count and pass on that a switch refused what an effect made us send."""
        self.counters[f"refused: {refusal.text}"] += 1
        self._tell("refused", link, refusal)

    def probe_caught(self, event: ProbeCaught, now_s: float) -> None:
        """Pass on that a probe has come out of a function."""
        self._tell("probe_caught", event, now_s)

    def _tell(self, what: str, *arguments: object) -> None:
        """Call the handler; a fault in it must not end a receive loop."""
        try:
            getattr(self.handler, what)(*arguments)
        except Exception:
            self.fault(what)

    def fault(self, where: str) -> None:
        """Count and log a fault of ours, with a reference and the traceback of the exception at hand."""
        self.counters["fault"] += 1
        _LOG.exception("fault %s in %s", uuid.uuid4().hex[:12], where)

    def serve(self, socket: Any, address: Any) -> None:
        """Serve one connection to its end: what Ryu calls for each."""
        try:
            link = Link(socket, address, self)
        except OSError:
            # The peer was quicker to leave than we to greet it.
            socket.close()
            return
        link.serve()


def install(handler: Handler, *, clock: Callable[[], float] = time.monotonic, limits: Limits | None = None) -> Links:
    """Return the connections to be, after making Ryu hand all sockets to them.

    Call it before Ryu starts to listen: in an application's __init__ or in a context class.
    """
    links = Links(handler, clock, limits or Limits())
    controller.datapath_connection_factory = links.serve
    return links

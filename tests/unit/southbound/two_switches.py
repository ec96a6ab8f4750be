"""Two switches of which one falls silent, and how often each was asked for something."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import eventlet
from eventlet.greenthread import GreenThread

from ryu_apps.southbound.links import Links
from ryu_apps.southbound.wire import Type
from tests.unit.southbound import messages
from tests.unit.southbound.loop import Peer, running, wait_until

SILENT, OTHER = 1, 2


@dataclass
class TwoSwitches:
    """Two switches, of which the first falls silent when it is told to; looks counts what both were asked of a kind."""

    links: Links
    kind: int
    looks: Counter[int] = field(default_factory=Counter)
    silent: bool = False
    _threads: list[GreenThread] = field(default_factory=list)

    def begin(self, what: Callable[..., None], *arguments: object) -> None:
        """Run something beside until the end."""
        self._threads.append(eventlet.spawn(what, *arguments))

    def serve(self, peer: Peer, dpid: int) -> None:
        """Answer each question with an empty list, unless this is the silent one."""
        while True:
            message = peer.await_type(Type.MULTIPART_REQUEST)
            (kind,) = struct.unpack_from("!H", message, 8)
            self.looks[dpid] += kind == self.kind
            if not (self.silent and dpid == SILENT):
                peer.send(messages.multipart(kind, b"", xid=int.from_bytes(message[4:8], "big")))

    def wait_looks(self) -> None:
        """Return when both have been asked."""
        wait_until(lambda: self.looks[SILENT] and self.looks[OTHER], "both to be looked at")

    def fall_silent(self) -> None:
        """Return when the first switch has been asked and has not answered."""
        self.silent = True
        before = self.looks[SILENT]
        wait_until(lambda: self.looks[SILENT] > before, "a look at the silent switch")

    def wait_looks_at_the_other(self) -> None:
        """Return when the other switch has been asked twice as often as the silent one from now on, and twice more."""
        before = self.looks.copy()

        def more() -> bool:
            since = self.looks - before
            return since[OTHER] >= 2 * since[SILENT] + 2

        wait_until(more, "looks at the other switch alone", timeout_s=20)

    def is_looking(self) -> bool:
        """Return whether the look at the silent switch has not ended."""
        link = self.links.get(SILENT)
        return link is not None and bool(link.exchanges)

    def end(self) -> None:
        """End all that runs beside."""
        for thread in self._threads:
            thread.kill()


@contextmanager
def two_switches(kind: int) -> Iterator[TwoSwitches]:
    """Yield two connected switches of which it is counted how often they were asked for this kind of statistics."""
    with running() as loop:
        made = TwoSwitches(loop.links, kind)
        for dpid in (SILENT, OTHER):
            peer, _ = loop.up(dpid)
            made.begin(made.serve, peer, dpid)
        try:
            yield made
        finally:
            made.end()

"""Packets that wait until other switches have the entries that they will meet there.

Two connections know no common order, and a packet crosses a wire faster than a switch may look at its next message.
A packet that arrived first would miss once more, and so would all behind it until the datapath has followed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import eventlet

from ryu_apps.southbound.outbox import Outbox
from ryu_apps.southbound.requests import Waiter
from ryu_apps.southbound.wire import HEADER, VERSION, Type

if TYPE_CHECKING:
    from ryu_apps.southbound.link import Link

# A switch that answers later than this keeps the packets for other switches waiting no longer.
PATIENCE_S: Final = 0.05


class Gate:
    """The packets of one datapath, in order, each batch behind the barriers of the switches that it waits for."""

    def __init__(self, outbox: Outbox, clock: Callable[[], float]) -> None:
        self._outbox = outbox
        self._clock = clock
        self._batches: deque[_Batch] = deque()
        self._watched = False

    def __len__(self) -> int:
        return len(self._batches)

    def send(self, packets: bytes, others: Iterable[Link]) -> None:
        """Write packet-outs when these other switches have done all that they were sent, and after earlier ones."""
        batch = _Batch(packets, self._clock())
        self._batches.append(batch)
        for other in others:
            xid = other.next_xid()
            other.exchanges[xid] = _Barrier(other.exchanges, xid, batch, self.advance)
            batch.awaited += 1
            other.outbox.write(HEADER.pack(VERSION, Type.BARRIER_REQUEST, 8, xid))
        self.advance()
        if self._batches and not self._watched:
            self._watched = True
            eventlet.spawn_after(PATIENCE_S, self._watch)

    def _watch(self) -> None:
        """Let late batches go although nothing else happens, for as long as any wait."""
        self._watched = False
        self.advance()
        if self._batches:
            self._watched = True
            eventlet.spawn_after(PATIENCE_S, self._watch)

    def advance(self) -> None:
        """Write the batches that wait no more."""
        late_s = self._clock() - PATIENCE_S
        while self._batches and (self._batches[0].awaited <= 0 or self._batches[0].since_s < late_s):
            self._outbox.write(self._batches.popleft().packets)


@dataclass(slots=True)
class _Batch:
    """Packet-outs, since when they wait, and for how many barriers."""

    packets: bytes
    since_s: float
    awaited: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Barrier:
    """A barrier at another switch; its answer, whatever it is, or the loss of the switch lets a batch go on."""

    exchanges: dict[int, Waiter]
    xid: int
    batch: _Batch
    advance: Callable[[], None]

    def take(self, kind: int, xid: int, message: bytes) -> None:
        """Note the answer."""
        self.lose()

    def lose(self) -> None:
        """Wait for this barrier no more."""
        if self.exchanges.pop(self.xid, None) is not None:
            self.batch.awaited -= 1
            self.advance()

"""TCP connection attempts of vports whose quota of half-open connections is full: they wait for a place or are dropped.

A switch that stands still for a moment brings attempts all at once, and their answers after them.
So some attempts wait in the controller until places come free, and what does not come to an end by answers, a flood,
is dropped by the switch itself for a second at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Iterator
from typing import Final

from ryu_apps.control.connections import choke
from ryu_apps.control.effects import Choke, Effect
from ryu_apps.control.events import PacketIn
from ryu_apps.control.life import CHOKE_S, Life
from ryu_apps.control.tally import Tally
from ryu_apps.model.rules import Direction

# How many attempts of a vport may wait, as part of its quota, and how long: less than a sender waits before it tries
# again (RFC 6298 section 2.1: one second).
WAITING_OF_QUOTA: Final = 4
WAITING_S: Final = 0.5
# No attempt is as long, but for data in a SYN, which senders repeat.
WAITING_BYTES: Final = 256
# When no more can wait and the first has waited for so long, connections are answered too slowly for all to begin.
HOPELESS_S: Final = 0.25


class Crowding:
    """The attempts that wait, by vport, each with the time since when, the oldest first."""

    def __init__(self, life: Life, tally: Tally, dpid_of: Callable[[int], int | None]) -> None:
        """Keep what is shared with the core; dpid_of returns the connected datapath that a vport is on."""
        self._life = life
        self._tally = tally
        self._dpid_of = dpid_of
        self._waiting: dict[int, deque[tuple[float, PacketIn]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def full(self, vport: int, direction: Direction, attempt: PacketIn, now_s: float) -> list[Effect]:
        """Return what follows from an attempt of a vport that may have no more half-open connections."""
        waiting = self._waiting.get(vport)
        hopeless = self._life.choked_lately(vport, now_s)
        room = self._life.quota // WAITING_OF_QUOTA
        if not hopeless and len(waiting or ()) < room and len(attempt.frame) <= WAITING_BYTES:
            self._waiting.setdefault(vport, deque()).append((now_s, attempt))
            return []
        self._tally.count("half-open-limit", vport)
        dpid = self._dpid_of(vport)
        if dpid is None or (waiting and not hopeless and now_s - waiting[0][0] < HOPELESS_S):
            return []
        if not self._life.choke(vport, now_s):
            return []
        return [Choke(dpid, made) for made in choke(vport, direction, CHOKE_S)]

    def due(self, now_s: float, most: int) -> Iterator[PacketIn]:
        """Yield attempts for which a place is free when they are yielded, at most so many.

        Those that have waited for WAITING_S are dropped.
        """
        for vport, waiting in tuple(self._waiting.items()):
            while waiting and now_s - waiting[0][0] > WAITING_S:
                waiting.popleft()
                self._tally.count("half-open-limit", vport)
            while waiting and most and not self._life.full(vport):
                most -= 1
                yield waiting.popleft()[1]
            if not waiting:
                self._waiting.pop(vport, None)

    def keep(self, vports: Container[int]) -> None:
        """Drop what waits of vports that are not among these: others may have their numbers now."""
        for vport in [vport for vport in self._waiting if vport not in vports]:
            del self._waiting[vport]

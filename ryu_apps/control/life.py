"""The life of TCP connections: which are half open and how many a vport may have, which are closing, which are over.

A FIN ends its own direction (RFC 9293 section 3.6): the entries that it passes go by themselves when nothing has
followed it for a second, and the host is told. When both directions have ended the connection is closed.
A RST ends both: it reaches the host as a copy, and the entries stay for a moment and are then removed.
The host knows a closed connection for a little longer, so that what comes late passes, and a RST that was forged cuts
nobody off.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Final

# How many half-open connections a vport may have, of those that it began or that others began towards it from outside.
# Who has a quarter as many is looked at: those that were answered meanwhile are half open no more.
HALF_OPEN_PER_VPORT: Final = 4096
# How long entries that do not go by themselves stay after a close, and how long the host knows the connection then.
LINGER_S: Final = 0.5
CLOSED_S: Final = 4.0
# So many packets that end nothing show that a connection is not over after all.
LATE_PKTS: Final = 3
# For so long the switch drops the connection attempts of a vport that may have no more; then the host looks again.
CHOKE_S: Final = 1
_BLOCK_IDS: Final = 1024
# So many closed connections are dealt with without a pause.
_AT_ONCE: Final = 256
# More entries than a connection has: some may be left, and are to be removed.
_MANY: Final = 1 << 30


class Connection(Enum):
    """Where a TCP connection is in its life."""

    HALF_OPEN = "half-open"
    ESTABLISHED = "established"
    CLOSING = "closing"


class Life:
    """Half-open connections by vport, and closing and closed ones by the time at which something is due."""

    def __init__(self, half_open_per_vport: int = HALF_OPEN_PER_VPORT) -> None:
        self.quota = half_open_per_vport
        self._many = max(1, half_open_per_vport // 4)
        self.crowded: set[int] = set()
        # The vport of each, by flow id, in blocks of ids, which rise: growing one dictionary of all would be a pause.
        self._half_open: dict[int, dict[int, int]] = {}
        self._counts: dict[int, int] = {}
        self._fins: dict[int, int] = {}
        # How many entries have not gone by themselves, of connections of which some have.
        self._left: dict[int, int] = {}
        self._closing: dict[int, float] = {}
        self._closed: dict[int, float] = {}
        self._late: dict[int, int] = {}
        self._choked_s: dict[int, float] = {}

    @property
    def busy(self) -> bool:
        """Whether a connection is closing or lately closed, so that time alone will bring something to do."""
        return bool(self._closing or self._closed)

    @property
    def restless(self) -> bool:
        """Whether anything is to be done without an event: a connection is closing, or a vport is crowded."""
        return bool(self._closing or self.crowded or self._closed)

    # -- half open -----------------------------------------------------------------------------------------------------

    def full(self, vport: int) -> bool:
        """Return whether a vport may have no more half-open connections."""
        return self._counts.get(vport, 0) >= self.quota

    def began(self, flow_id: int, vport: int) -> None:
        """Count a connection as half open at a vport."""
        block = self._half_open.get(flow_id // _BLOCK_IDS)
        if block is None:
            block = self._half_open[flow_id // _BLOCK_IDS] = {}
        block[flow_id] = vport
        self._counts[vport] = count = self._counts.get(vport, 0) + 1
        if count >= self._many:
            self.crowded.add(vport)

    def half_open_ids(self) -> Iterator[int]:
        """Yield the half-open connections of all vports, the oldest first."""
        return (flow_id for block in tuple(self._half_open.values()) for flow_id in block)

    def half_open_at(self, vport: int, after: int, most: int) -> list[int]:
        """Return at most so many half-open connections of a vport, the oldest first of those behind one of them."""
        found: list[int] = []
        for number, block in self._half_open.items():
            if (number + 1) * _BLOCK_IDS > after:
                found += [flow_id for flow_id, there in block.items() if there == vport and flow_id > after]
            if len(found) >= most:
                break
        return found[:most]

    def answered(self, flow_id: int) -> None:
        """Count a connection as half open no more."""
        block = self._half_open.get(flow_id // _BLOCK_IDS)
        vport = None if block is None else block.pop(flow_id, None)
        if block is None or vport is None:
            return
        if not block:
            del self._half_open[flow_id // _BLOCK_IDS]
        self._counts[vport] = count = self._counts[vport] - 1
        if count < self._many:
            self.crowded.discard(vport)
        if not count:
            del self._counts[vport]

    def is_half_open(self, flow_id: int) -> bool:
        """Return whether a connection counts as half open."""
        return flow_id in self._half_open.get(flow_id // _BLOCK_IDS, ())

    def choke(self, vport: int, now_s: float) -> bool:
        """Return whether the switch is to drop a vport's attempts from now on; True once for each CHOKE_S."""
        if now_s - self._choked_s.get(vport, -CHOKE_S) < CHOKE_S:
            return False
        self._choked_s[vport] = now_s
        return True

    def choked_lately(self, vport: int, now_s: float) -> bool:
        """Return whether the switch drops a vport's attempts, or did so until a moment ago."""
        return now_s - self._choked_s.get(vport, -2 * CHOKE_S) < 2 * CHOKE_S

    # -- closing -------------------------------------------------------------------------------------------------------

    def ended(self, flow_id: int, *, reply: bool, reset: bool, now_s: float) -> None:
        """Note that one side has ended its half of a connection, or reset all of it."""
        if reply or reset:
            self.answered(flow_id)
        fins = self._fins.get(flow_id, 0) | (2 if reply else 1)
        self._fins[flow_id] = fins
        if (reset or fins == 3) and flow_id not in self._closed:
            self._closing.setdefault(flow_id, now_s + LINGER_S)

    def let_go(self, flow_id: int, *, reply: bool, entries: int, now_s: float) -> None:
        """Note that an entry has gone by itself because its direction has ended; entries: how many there were, or 0.

        When all are gone there is nothing to remove, and the connection is closed.
        """
        if flow_id in self._closed:
            return
        self._fins[flow_id] = fins = self._fins.get(flow_id, 0) | (2 if reply else 1)
        self._left[flow_id] = left = self._left.get(flow_id, entries or _MANY) - 1
        if reply:
            self.answered(flow_id)
        if fins == 3 and left:
            self._closing.setdefault(flow_id, now_s + LINGER_S)
        elif fins == 3:
            self._closing.pop(flow_id, None)
            self._close(flow_id, now_s)

    def ended_ways(self, flow_id: int) -> int:
        """Return which directions of a connection have ended: 1 for its first packet's, 2 for that of replies."""
        return self._fins.get(flow_id, 0)

    def returned(self, flow_id: int) -> None:
        """Note that a connection has entries again of which some had gone: not all will go by themselves."""
        if flow_id in self._fins:
            self._left[flow_id] = _MANY

    def all_returned(self) -> None:
        """Note that any connection may have entries again."""
        self._left = dict.fromkeys(self._left, _MANY)

    def overdue(self, now_s: float) -> bool:
        """Return whether connections are to lose their entries now, or to be forgotten."""
        return bool(_until(self._closing, now_s, 1) or _until(self._closed, now_s, 1))

    def due(self, now_s: float) -> list[int]:
        """Return connections whose entries are to go now, some at once; they are closed."""
        due = _until(self._closing, now_s, _AT_ONCE)
        for flow_id in due:
            del self._closing[flow_id]
            self._close(flow_id, now_s)
        return due

    def _close(self, flow_id: int, now_s: float) -> None:
        self.answered(flow_id)
        self._left.pop(flow_id, None)
        self._closed[flow_id] = now_s + CLOSED_S

    def over(self, now_s: float) -> list[int]:
        """Return closed connections that are to be forgotten now, some at once."""
        return _until(self._closed, now_s, _AT_ONCE)

    def stage(self, flow_id: int, *, answered: bool) -> Connection:
        """Return where a TCP connection is in its life."""
        if self.is_closing(flow_id):
            return Connection.CLOSING
        return Connection.ESTABLISHED if answered else Connection.HALF_OPEN

    def is_closing(self, flow_id: int) -> bool:
        """Return whether a connection is closing or closed."""
        return flow_id in self._closing or flow_id in self._closed

    def is_closed(self, flow_id: int) -> bool:
        """Return whether a connection is known to the host alone because it was closed."""
        return flow_id in self._closed

    def reopens(self, flow_id: int) -> bool:
        """Note a packet of a closed connection that ends nothing; return whether it goes on after all."""
        late = self._late.get(flow_id, 0) + 1
        self._late[flow_id] = late
        if late < LATE_PKTS:
            return False
        self.forget(flow_id)
        return True

    def forget(self, flow_id: int) -> None:
        """Drop what is remembered of a flow that is gone."""
        self.answered(flow_id)
        self._fins.pop(flow_id, None)
        self._left.pop(flow_id, None)
        self._closing.pop(flow_id, None)
        self._closed.pop(flow_id, None)
        self._late.pop(flow_id, None)


def _until(due: dict[int, float], now_s: float, most: int) -> list[int]:
    """Return the first keys that are due; they stand in the order of their times."""
    found: list[int] = []
    for flow_id, due_s in due.items():
        if due_s > now_s or len(found) == most:
            break
        found.append(flow_id)
    return found

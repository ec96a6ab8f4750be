"""Packet-ins that wait to be answered: each vport's in a queue of its own, and all queues have their turn.

What a vport sends too much of waits behind itself, and is dropped when its queue is full.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from ryu_apps.control.events import PacketIn
from ryu_apps.southbound import packet_in

_HEAD_AT: Final = 14
_MATCH_AT: Final = 24
_MOST_PLACES: Final = 65_536


class Waiting(NamedTuple):
    """A packet-in as it came, and when it was read."""

    read_s: float
    message: bytes


class _Queue:
    """What waits of one vport."""

    __slots__ = ("vport", "waiting")

    def __init__(self, vport: int) -> None:
        self.vport = vport
        self.waiting: deque[Waiting] = deque()


class MissQueues:
    """The packet-ins of one connection that could not be answered at once; most is the room of each queue.

    `drop` is called with the vport of each packet-in that found its queue full.
    """

    def __init__(self, most: int, drop: Callable[[int], None]) -> None:
        self.waiting = 0
        self.waiting_bytes = 0
        self._most = most
        self._drop = drop
        self._queues: dict[int, _Queue] = {}
        # By what a packet-in says before its frame: the entry that sent it, and the registers.
        self._places: dict[bytes, _Queue] = {}
        self._turns: deque[_Queue] = deque()

    def put(self, data: bytes, at: int, length: int, read_s: float) -> bool:
        """Keep or drop the packet-in at data[at:at+length]; False when no entry of ours sent it.

        Malformed when its lengths do not fit.
        """
        queue = self._places.get(data[at + _HEAD_AT : at + _MATCH_AT + int.from_bytes(data[at + 26 : at + 28], "big")])
        if queue is None:
            event = packet_in.decode(data, at, length, 0)
            if event is None:
                return False
            queue = self._remember(data, at, event)
        if len(queue.waiting) >= self._most:
            self._drop(queue.vport)
            return True
        if not queue.waiting:
            self._turns.append(queue)
        queue.waiting.append(Waiting(read_s, data[at : at + length]))
        self.waiting += 1
        self.waiting_bytes += length
        return True

    def take(self) -> Waiting:
        """Return the packet-in whose turn it is; IndexError when none waits."""
        queue = self._turns.popleft()
        found = queue.waiting.popleft()
        self.waiting -= 1
        self.waiting_bytes -= len(found.message)
        if queue.waiting:
            self._turns.append(queue)
        return found

    def _remember(self, data: bytes, at: int, event: PacketIn) -> _Queue:
        if len(self._places) >= _MOST_PLACES:
            self._places.clear()
            self._queues = {vport: queue for vport, queue in self._queues.items() if queue.waiting}
        vport = asking_vport(event)
        queue = self._queues.get(vport)
        if queue is None:
            queue = self._queues[vport] = _Queue(vport)
        match_bytes = int.from_bytes(data[at + 26 : at + 28], "big")
        self._places[data[at + _HEAD_AT : at + _MATCH_AT + match_bytes]] = queue
        return queue


def asking_vport(event: PacketIn) -> int:
    """Return the number of the vport that a packet-in is asked for, whose meter it has passed."""
    if event.table == "inbound":
        return event.receiver
    return event.sender

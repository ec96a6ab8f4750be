"""One VF's part of a NIC's cache: which of its flows are in, which of them is worth least, and what newcomers get.

A new flow is on trial: it waits in a short queue, so that its first train of packets is served by the NIC.
Who leaves the queue stands beside the older flows, and the one of least worth gives way (W-TinyLFU).
How long the queue is follows from who comes back soon after leaving (ARC, Megiddo and Modha, FAST 2003):
flows that left on trial lengthen it, flows that had proven themselves shorten it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush, heapreplace
from math import log2, pow
from typing import Final

from ryu_apps.engine.frequency import Frequency

# A packet counts half after so long; 2 to 16 s give the same hit ratios within 0.003.
HALF_LIFE_S: Final = 4.0
# The queue's part of a share: at the start, at least, at most, and its step for each flow that comes back.
QUEUE_START, QUEUE_LEAST, QUEUE_MOST = 0.2, 0.1, 0.9
_STEP_ENTRIES: Final = 0.5
_STEP_RATIO_MOST: Final = 8.0
# Trials pay while their entries serve so many packets on average.
TRIAL_PAYS_PKTS: Final = 0.3
TRIAL_SAMPLE: Final = 16
# One long train must not pay for many trials in vain.
_TRIAL_MOST_PKTS: Final = 4
_TRIAL_WEIGHT: Final = 1 / 64
# Flows that left are remembered, as many as are in, and a few where few are in.
_LEFT_LEAST: Final = 8


def worth(recent_pkts: float, now_s: float) -> float:
    """Return a number that orders flows by their recent packets, whenever each was last seen.

    A packet halves in HALF_LIFE_S, for all flows alike, so the order holds without renewal (forward decay,
    Cormode and others, ICDE 2009).
    """
    return now_s / HALF_LIFE_S + log2(recent_pkts)


@dataclass(slots=True)
class Trials:
    """Whether trials of one kind of flow pay: how many packets the entries of recent ones have served on average."""

    served_pkts: float = 1.0
    _skipped: int = 0

    def allow(self) -> bool:
        """Return whether the next flow gets a trial: each while they pay, otherwise every 16th, to see a change."""
        if self.served_pkts >= TRIAL_PAYS_PKTS:
            return True
        self._skipped += 1
        return self._skipped % TRIAL_SAMPLE == 0

    def ended(self, packets: int) -> None:
        """Note the packets that the entry of one trial has served."""
        self.served_pkts += _TRIAL_WEIGHT * (min(packets, _TRIAL_MOST_PKTS) - self.served_pkts)


@dataclass(slots=True)
class Entry:
    """A flow in the NIC, or lately gone from it; packets is what its entry had counted when last asked.

    trial is the kind of its trial until it has proven itself, queued whether it is in the queue.
    """

    share: Share
    worth: float
    trial: Trials | None
    queued: bool
    packets: int = 0

    def recent_pkts(self, now_s: float) -> float:
        """Return the packets counted so far, each by its age."""
        return pow(2.0, self.worth - now_s / HALF_LIFE_S)


@dataclass(slots=True, eq=False)
class Share:
    """The entries of one VF: a queue of those on trial, the others in a heap by worth, and who lately left.

    The heap holds a worth that may have risen since; it is brought up to date when it comes to the top.
    """

    vport: int
    history: Frequency
    entries: dict[int, Entry] = field(default_factory=dict)
    queue_part: float = QUEUE_START
    _queue: dict[int, None] = field(default_factory=dict)
    _heap: list[tuple[float, int]] = field(default_factory=list)
    _left: dict[int, Entry] = field(default_factory=dict)
    _left_on_trial: int = 0
    first_trials: Trials = field(default_factory=Trials)
    later_trials: Trials = field(default_factory=Trials)

    def put(self, flow_id: int, entry: Entry) -> None:
        """Take in a flow, at the end of the queue when it is on trial."""
        self.entries[flow_id] = entry
        if entry.queued:
            self._queue[flow_id] = None
            self._shorten(self._queue_size())
        else:
            heappush(self._heap, (entry.worth, flow_id))

    def drop(self, flow_id: int) -> Entry:
        """Return the entry of a flow that is in no longer."""
        entry = self.entries.pop(flow_id)
        if entry.queued:
            del self._queue[flow_id]
        if len(self._heap) > 2 * len(self.entries) + 64:
            self._heap = [(one.worth, number) for number, one in self.entries.items() if not one.queued]
            heapify(self._heap)
        return entry

    def evict(self, flow_id: int, now_s: float) -> int | None:
        """Remember a flow that must go, and return the one that is forgotten for it."""
        entry = self.drop(flow_id)
        self.history.raise_to(flow_id, entry.recent_pkts(now_s))
        self._left[flow_id] = entry
        self._left_on_trial += entry.trial is not None
        if len(self._left) <= len(self.entries) + _LEFT_LEAST:
            return None
        oldest = next(iter(self._left))
        self._forget(oldest)
        return oldest

    def least(self, room: int = 0) -> int | None:
        """Return the flow that is worth least, those on trial apart while the queue has room for so many more."""
        self._shorten(self._queue_size() - room)
        heap, entries = self._heap, self.entries
        while heap:
            known, flow_id = heap[0]
            entry = entries.get(flow_id)
            if entry is None or entry.queued:
                heappop(heap)
            elif entry.worth != known:
                heapreplace(heap, (entry.worth, flow_id))
            else:
                return flow_id
        return next(iter(self._queue), None)

    def leaving(self) -> Iterator[int]:
        """Yield all flows in the order in which `least` and `evict` would have them go; nothing is changed."""
        proven = [(one.worth, flow_id) for flow_id, one in self.entries.items() if not one.queued]
        heapify(proven)
        waiting = deque(self._queue)
        for left in range(len(self.entries), 0, -1):
            while len(waiting) > max(1, int(self.queue_part * left)):
                flow_id = waiting.popleft()
                heappush(proven, (self.entries[flow_id].worth, flow_id))
            yield heappop(proven)[1] if proven else waiting.popleft()

    def came_back(self, flow_id: int) -> None:
        """Set the queue's part of the share by a flow that was in not long ago."""
        on_trial, proven = self._left_on_trial, len(self._left) - self._left_on_trial
        step = _STEP_ENTRIES / max(1, len(self.entries))
        if self._forget(flow_id).trial:
            self.queue_part += step * min(_STEP_RATIO_MOST, max(1.0, proven / max(1, on_trial)))
        else:
            self.queue_part -= step * min(_STEP_RATIO_MOST, max(1.0, on_trial / max(1, proven)))
        self.queue_part = min(QUEUE_MOST, max(QUEUE_LEAST, self.queue_part))

    def counted(self, flow_id: int, packets: int, now_s: float) -> None:
        """Note what the NIC has counted for a flow that is in; with that it has proven itself and leaves the queue."""
        entry = self.entries[flow_id]
        # A smaller count is of an entry that was installed anew.
        more = packets - entry.packets if packets >= entry.packets else packets
        entry.packets = packets
        if not more:
            return
        entry.worth = worth(entry.recent_pkts(now_s) + more, now_s)
        if entry.trial:
            entry.trial.ended(packets)
            entry.trial = None
        if entry.queued:
            self._leave_queue(flow_id, entry)

    def counted_after(self, flow_id: int, packets: int, now_s: float) -> None:
        """Note what the NIC has counted in all for a flow that has left."""
        entry = self._left[flow_id]
        if entry.trial:
            entry.trial.ended(packets)
        if packets > entry.packets:
            self.history.raise_to(flow_id, entry.recent_pkts(now_s) + packets - entry.packets)
            entry.packets = packets

    def _queue_size(self) -> int:
        return max(1, int(self.queue_part * len(self.entries)))

    def _shorten(self, size: int) -> None:
        while len(self._queue) > size:
            flow_id = next(iter(self._queue))
            self._leave_queue(flow_id, self.entries[flow_id])

    def _leave_queue(self, flow_id: int, entry: Entry) -> None:
        del self._queue[flow_id]
        entry.queued = False
        heappush(self._heap, (entry.worth, flow_id))

    def _forget(self, flow_id: int) -> Entry:
        entry = self._left.pop(flow_id)
        self._left_on_trial -= entry.trial is not None
        return entry

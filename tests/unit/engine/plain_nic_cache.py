"""A plain, slow twin of NicCache: the same rules, by looking at every entry each time."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import log2

from ryu_apps.engine.frequency import Frequency
from ryu_apps.engine.nic_share import HALF_LIFE_S


@dataclass
class _Flow:
    vport: int
    worth: float
    trial: int  # 0 none, 1 first, 2 later
    queued: bool
    packets: int = 0

    def more(self, packets: int, now_s: float) -> None:
        self.worth = now_s / HALF_LIFE_S + log2(2.0 ** (self.worth - now_s / HALF_LIFE_S) + packets)


@dataclass
class _Vport:
    history: Frequency
    part: float = 0.2
    served: list[float] = field(default_factory=lambda: [0.0, 1.0, 1.0])
    skipped: list[int] = field(default_factory=lambda: [0, 0, 0])
    since: int = 0
    left: dict[int, _Flow] = field(default_factory=dict)

    def tried(self, trial: int, packets: int) -> None:
        self.served[trial] += (min(packets, 4) - self.served[trial]) / 64


class PlainNicCache:
    """Answers missed, counted, removed and resized as NicCache must; the capacity is a number."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.flows: dict[int, _Flow] = {}
        self._vports: dict[int, _Vport] = {}
        self._changes = 0

    def of(self, vport: int) -> list[int]:
        """Return the flows of a vport."""
        return [number for number, flow in self.flows.items() if flow.vport == vport]

    def missed(self, number: int, vport: int, now_s: float) -> tuple[bool, tuple[int, ...]]:
        """Return whether to install, and what to remove."""
        if number in self.flows:
            self.flows[number].more(1, now_s)
            return True, ()
        active = {flow.vport for flow in self.flows.values()} | {vport}
        if vport not in self._vports:
            entries = 2 * self.capacity // (len({flow.vport for flow in self.flows.values()}) + 1)
            self._vports[vport] = _Vport(Frequency(max(1024, 1 << entries.bit_length()), HALF_LIFE_S))
        mine = self._vports[vport]
        if number in mine.left:
            self._came_back(number, mine, max(1, len(self.of(vport))))
        if len(self.flows) < self.capacity:
            self._put(number, _Flow(vport, now_s / HALF_LIFE_S, 1, True))
            return True, ()
        recent = mine.history.add(number, now_s)
        by_right = recent >= 3 or len(self.of(vport)) < self.capacity // len(active)
        largest = self._largest()
        trial = 2 if recent > 1 else 1
        if by_right and largest is not None and len(self.of(largest)) >= len(self.of(vport)) + 2:
            victim = self._least(largest)
        else:
            victim = self._least(vport) if self.of(vport) else None
            if victim is None:
                return False, ()
            if recent > 1 and now_s / HALF_LIFE_S + log2(recent) > self.flows[victim].worth:
                trial = 0
            else:
                if mine.served[trial] < 0.3:
                    mine.skipped[trial] += 1
                    if mine.skipped[trial] % 16:
                        return False, ()
                victim = self._least(vport, 1)
        self._evict(victim, now_s)
        self._put(number, _Flow(vport, now_s / HALF_LIFE_S + log2(recent), trial, trial > 0))
        return True, (victim,)

    def counted(self, number: int, packets: int, now_s: float) -> None:
        """Note a count."""
        if number in self.flows:
            flow = self.flows[number]
            before = flow.packets if packets >= flow.packets else 0
            flow.packets = packets
            if packets > before:
                flow.more(packets - before, now_s)
                flow.queued = False
                if flow.trial:
                    self._vports[flow.vport].tried(flow.trial, packets)
                    flow.trial = 0
            return
        for vport in self._vports.values():
            if number in vport.left:
                flow = vport.left[number]
                if flow.trial:
                    vport.tried(flow.trial, packets)
                if packets > flow.packets:
                    recent = 2.0 ** (flow.worth - now_s / HALF_LIFE_S) + packets - flow.packets
                    vport.history.raise_to(number, recent)
                    flow.packets = packets

    def removed(self, number: int) -> None:
        """Note a removal."""
        if number in self.flows:
            self._changed(self.flows.pop(number).vport)

    def resized(self, capacity: int, now_s: float) -> tuple[int, ...]:
        """Return what to remove."""
        self.capacity = capacity
        gone = []
        while len(self.flows) > capacity:
            largest = self._largest()
            assert largest is not None
            gone.append(self._least(largest))
            self._evict(gone[-1], now_s)
        return tuple(gone)

    def _largest(self) -> int | None:
        held = {flow.vport for flow in self.flows.values()}
        return min(held, key=lambda vport: (-len(self.of(vport)), self._vports[vport].since), default=None)

    def _least(self, vport: int, room: int = 0) -> int:
        self._shorten(vport, self._queue_size(vport) - room)
        older = [number for number in self.of(vport) if not self.flows[number].queued]
        if not older:
            return self.of(vport)[0]
        return min(older, key=lambda number: (self.flows[number].worth, number))

    def _queue_size(self, vport: int) -> int:
        return max(1, int(self._vports[vport].part * len(self.of(vport))))

    def _shorten(self, vport: int, size: int) -> None:
        queue = [number for number in self.of(vport) if self.flows[number].queued]
        for number in queue[: max(0, len(queue) - size)]:
            self.flows[number].queued = False

    def _changed(self, vport: int) -> None:
        self._changes += 1
        self._vports[vport].since = self._changes

    def _put(self, number: int, flow: _Flow) -> None:
        self.flows[number] = flow
        if flow.queued:
            self._shorten(flow.vport, self._queue_size(flow.vport))
        self._changed(flow.vport)

    def _evict(self, number: int, now_s: float) -> None:
        flow = self.flows.pop(number)
        vport = self._vports[flow.vport]
        vport.history.raise_to(number, 2.0 ** (flow.worth - now_s / HALF_LIFE_S))
        vport.left[number] = flow
        if len(vport.left) > len(self.of(flow.vport)) + 8:
            del vport.left[next(iter(vport.left))]
        self._changed(flow.vport)

    def _came_back(self, number: int, vport: _Vport, held: int) -> None:
        trial = sum(flow.trial > 0 for flow in vport.left.values())
        proven = len(vport.left) - trial
        if vport.left.pop(number).trial:
            vport.part += 0.5 / held * min(8.0, max(1.0, proven / max(1, trial)))
        else:
            vport.part -= 0.5 / held * min(8.0, max(1.0, trial / max(1, proven)))
        vport.part = min(0.9, max(0.1, vport.part))

"""Open vSwitch's own way with a full table, to compare with: eviction groups.

ovs-vswitchd.conf.db(5), Flow_Table; ofproto/ofproto.c and lib/heap.c of Open vSwitch 3.1.
tests/ovs/test_eviction_groups.py holds this model against the switch itself.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from benchmarks.nic_policies import Blind


class EvictionGroups(Blind):
    """A table with flow_limit, overflow_policy=evict and a group for each vport; every flow is admitted.

    The victim comes from the largest group, of equal ones by chance, and expires soonest: it was used longest ago, as
    all have one idle timeout. Times of use are brought up to date once a second and compared in units of 1,024 ms;
    which of equal ones goes is up to the heap, often the youngest.
    Use is known exactly here, while the real switch learns of it from its datapath up to a second late.
    """

    sees_hits = True

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._chance = random.Random(1)
        self._used_s: dict[int, float] = {}
        self._groups: dict[int, _Heap] = {}

    def missed(self, flow: int, vport: int, now_s: float) -> Sequence[int]:
        """Admit in the place of the victim that Open vSwitch would take."""
        gone: tuple[int, ...] = ()
        if len(self._used_s) >= self._capacity:
            most = max(len(group) for group in self._groups.values())
            largest = self._chance.choice([group for group in self._groups.values() if len(group) == most])
            gone = (largest.pop_first(),)
            del self._used_s[gone[0]]
        self._used_s[flow] = now_s
        self._groups.setdefault(vport, _Heap()).push(_unit(now_s), flow)
        return gone

    def hit(self, flow: int, now_s: float) -> None:
        """Note the time of use."""
        self._used_s[flow] = now_s

    def polled(self, packets: Mapping[int, int], now_s: float) -> None:
        """Order the groups anew, as the switch does once a second."""
        for group in self._groups.values():
            group.rebuild({flow: _unit(self._used_s[flow]) for _, flow in group})


def _unit(used_s: float) -> int:
    return int(used_s * 1000) >> 10


class _Heap(list[tuple[int, int]]):
    """A binary heap of (time, flow) by time alone, which moves equal ones exactly as lib/heap.c does."""

    def push(self, time: int, flow: int) -> None:
        self.append((time, flow))
        place = len(self) - 1
        while place and self[place][0] < self[(place - 1) // 2][0]:
            parent = (place - 1) // 2
            self[place], self[parent] = self[parent], self[place]
            place = parent

    def pop_first(self) -> int:
        first = self[0][1]
        last = super().pop()
        if self:
            self[0] = last
            self._sink(0)
        return first

    def rebuild(self, times: Mapping[int, int]) -> None:
        self[:] = [(times[flow], flow) for _, flow in self]
        for place in reversed(range(len(self) // 2)):
            self._sink(place)

    def _sink(self, place: int) -> None:
        while True:
            first = place
            for child in (2 * place + 1, 2 * place + 2):
                if child < len(self) and self[child][0] < self[first][0]:
                    first = child
            if first == place:
                return
            self[place], self[first] = self[first], self[place]
            place = first

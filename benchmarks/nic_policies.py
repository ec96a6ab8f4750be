"""Who is in a full NIC table, decided in other ways than the product's, to compare with.

A policy is asked at each miss and tells which flows it removes, or None when it does not admit the flow.
"""

from __future__ import annotations

import heapq
import random
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from ryu_apps.engine.nic_cache import NicCache


class Policy(Protocol):
    """What the replay asks; sees_hits tells that each hit is to be reported, which no controller could know."""

    sees_hits: bool

    def missed(self, flow: int, vport: int, now_s: float) -> Sequence[int] | None:
        """Return the flows removed to install this one, None when it is not installed."""

    def hit(self, flow: int, now_s: float) -> None:
        """Note a packet that the NIC handled."""

    def polled(self, packets: Mapping[int, int], now_s: float) -> None:
        """Note the packet counts of all installed flows, once a second."""

    def left(self, flow: int, packets: int, now_s: float) -> None:
        """Note what a flow had counted when it was removed."""


class Blind:
    """The answers of a policy that is told nothing."""

    sees_hits = False

    def hit(self, flow: int, now_s: float) -> None:
        """Note nothing."""

    def polled(self, packets: Mapping[int, int], now_s: float) -> None:
        """Note nothing."""

    def left(self, flow: int, packets: int, now_s: float) -> None:
        """Note nothing."""


class Product(Blind):
    """The product's NicCache, which sees misses, a poll each second, and the last count of a removed flow."""

    def __init__(self, capacity: int) -> None:
        self.cache = NicCache(capacity)

    def missed(self, flow: int, vport: int, now_s: float) -> Sequence[int] | None:
        """Return what NicCache decides."""
        decision = self.cache.missed(flow, vport, now_s)
        return decision.remove if decision.install else None

    def polled(self, packets: Mapping[int, int], now_s: float) -> None:
        """Hand the counts over."""
        for flow, count in packets.items():
            self.cache.counted(flow, count, now_s)

    def left(self, flow: int, packets: int, now_s: float) -> None:
        """Hand the count over."""
        self.cache.counted(flow, packets, now_s)


class LeastRecentlyUsed(Blind):
    """Plain LRU that sees every hit, admits all and knows no vports."""

    sees_hits = True

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._order: OrderedDict[int, None] = OrderedDict()

    def missed(self, flow: int, vport: int, now_s: float) -> Sequence[int]:
        """Admit; the flow used longest ago goes."""
        gone = (self._order.popitem(last=False)[0],) if len(self._order) >= self._capacity else ()
        self._order[flow] = None
        return gone

    def hit(self, flow: int, now_s: float) -> None:
        """Put the flow last in order."""
        self._order.move_to_end(flow)


class AlwaysAdmitRandom(Blind):
    """Admits all; any flow goes."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._flows: list[int] = []
        self._chance = random.Random(1)

    def missed(self, flow: int, vport: int, now_s: float) -> Sequence[int]:
        """Admit in the place of a flow drawn by chance."""
        if len(self._flows) < self._capacity:
            self._flows.append(flow)
            return ()
        place = self._chance.randrange(self._capacity)
        gone, self._flows[place] = self._flows[place], flow
        return (gone,)


class Optimum(Blind):
    """Belady's MIN with bypass: knows the future, and keeps the flows whose next packets come soonest.

    Belady, IBM Systems Journal 5(2), 1966; a flow that would be the first to go is not admitted.
    """

    sees_hits = True

    def __init__(self, capacity: int, flows: Sequence[int]) -> None:
        self._capacity = capacity
        self._never = len(flows)
        self._next = _next_use(flows)
        self._now = -1
        self._until: dict[int, int] = {}
        self._heap: list[tuple[int, int]] = []

    def missed(self, flow: int, vport: int, now_s: float) -> Sequence[int] | None:
        """Admit unless all others come sooner."""
        self._now += 1
        until = self._next[self._now]
        if until == self._never:
            return None
        gone: tuple[int, ...] = ()
        if len(self._until) >= self._capacity:
            while self._until.get(self._heap[0][1]) != -self._heap[0][0]:
                heapq.heappop(self._heap)
            latest, victim = self._heap[0]
            if -latest <= until:
                return None
            heapq.heappop(self._heap)
            del self._until[victim]
            gone = (victim,)
        self._keep(flow, until)
        return gone

    def hit(self, flow: int, now_s: float) -> None:
        """Look up when the flow comes next."""
        self._now += 1
        self._keep(flow, self._next[self._now])

    def _keep(self, flow: int, until: int) -> None:
        self._until[flow] = until
        heapq.heappush(self._heap, (-until, flow))


def _next_use(flows: Sequence[int]) -> list[int]:
    """Return for each packet the place of its flow's next one, the number of packets where none comes."""
    numbers = np.array(flows)
    order = np.argsort(numbers, kind="stable")
    again = numbers[order][1:] == numbers[order][:-1]
    following = np.full(len(numbers), len(numbers))
    following[order[:-1][again]] = order[1:][again]
    return following.tolist()

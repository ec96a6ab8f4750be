"""Who is in a NIC whose table is smaller than the host's: one object for each cache of each NIC.

Three rules, in this order:

1. *Fair share.* A VF that uses less than its max-min fair share takes room from the one that uses most: by right up to
   capacity / VFs with flows, above that with flows that have come KNOWN_PKTS times, so that a scan takes no more.
2. *Worth.* Otherwise a VF displaces its own flow of least recent packets, and only for a flow that has shown more.
   So idle ones go first, and flows of one packet push out no busy one.
3. *Trial.* A flow that has not shown enough gets one of the few places kept for trials in its VF's share, while these
   pay: a scan's do not, so the scan is refused and costs no flow-mods. Flows that come for the first time are judged
   apart from those that came before, so that a scan does not spoil the trials of its VF's other flows.

What is known: each miss, and what the NIC's entries had counted when asked. Hits are not seen as they happen.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from typing import Final, NamedTuple

from ryu_apps.engine.frequency import Frequency
from ryu_apps.engine.nic_share import HALF_LIFE_S, Entry, Share, Trials, worth

KNOWN_PKTS: Final = 3
_HISTORY_LEAST, _HISTORY_MOST = 1024, 65_536


class Decision(NamedTuple):
    """Whether to install the entry of a flow that missed, and the flows whose entries go first to make room."""

    install: bool
    remove: tuple[int, ...] = ()


INSTALL: Final = Decision(True)
REFUSE: Final = Decision(False)


class NicCache:
    """The entries of one cache, at most `capacity` of them; None is no limit, and then nothing is kept or decided.

    Entries have opaque ids. Each counts against the share of one vport. Times are of one clock that does not run back.
    evictions and refusals count by vport: entries removed to make room, and misses that were not installed.
    """

    def __init__(self, capacity: int | None) -> None:
        self.capacity = capacity
        self.evictions: Counter[int] = Counter()
        self.refusals: Counter[int] = Counter()
        self._entries: dict[int, Entry] = {}
        self._left: dict[int, Share] = {}
        self._shares: dict[int, Share] = {}
        self._sizes = _Sizes()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, flow_id: int) -> bool:
        return flow_id in self._entries

    def held(self, vport: int) -> int:
        """Return how many entries count against a vport."""
        share = self._shares.get(vport)
        return len(share.entries) if share else 0

    @property
    def has_room(self) -> bool:
        """Whether another entry fits without one going."""
        return self.capacity is None or len(self._entries) < self.capacity

    def vports(self) -> tuple[int, ...]:
        """Return the vports that something is known of."""
        return tuple(self._shares)

    def missed(self, flow_id: int, vport: int, now_s: float, *, demanded: bool = False) -> Decision:
        """Return what to do about a packet that the NIC had no entry for; the decision is taken as done.

        A flow that is demanded to be in takes the place of its VF's flow of least worth where it gets none otherwise.
        """
        if self.capacity is None:
            return INSTALL
        entry = self._entries.get(flow_id)
        if entry is not None:  # its entry is on its way, or was lost
            entry.worth = worth(entry.recent_pkts(now_s) + 1, now_s)
            return INSTALL
        share = self._shares.get(vport) or self._new_share(vport)
        if self._left.pop(flow_id, None):
            share.came_back(flow_id)
        if len(self._entries) < self.capacity:
            self._put(flow_id, share, 1, now_s, share.first_trials)
            return INSTALL
        recent_pkts = share.history.add(flow_id, now_s)
        kind = share.later_trials if recent_pkts > 1 else share.first_trials
        trial: Trials | None = kind
        giver = self._giver(share, recent_pkts)
        if giver:
            victim = giver.least()
        else:
            victim = share.least() if recent_pkts > 1 or demanded else None
            if victim is not None and (demanded or worth(recent_pkts, now_s) > self._entries[victim].worth):
                trial = None
            else:
                victim = share.least(room=1) if share.entries and kind.allow() else None
        if victim is None:
            self.refusals[vport] += 1
            return REFUSE
        self._evict(victim, now_s)
        self._put(flow_id, share, recent_pkts, now_s, trial)
        return Decision(True, (victim,))

    def found(self, flow_id: int, vport: int, packets: int, now_s: float) -> tuple[int, ...]:
        """Return which flows to remove when an entry is found in the NIC, as after a restart: the flow itself maybe."""
        if self.capacity is None or flow_id in self._entries:
            return ()
        share = self._shares.get(vport) or self._new_share(vport)
        if self._left.pop(flow_id, None):
            share.came_back(flow_id)
        self._put(flow_id, share, 1, now_s, None)
        self._entries[flow_id].packets = packets
        return self._shrink(now_s)

    def counted(self, flow_id: int, packets: int, now_s: float) -> None:
        """Note all packets that an entry has counted since it was installed, as of a poll or a flow-removed message.

        For a flow that was removed to make room this may come afterwards; without it trials are thought to pay.
        """
        entry = self._entries.get(flow_id)
        if entry is not None:
            entry.share.counted(flow_id, packets, now_s)
            return
        share = self._left.get(flow_id)
        if share is not None:
            share.counted_after(flow_id, packets, now_s)

    def removed(self, flow_id: int) -> None:
        """Note that an entry is gone for another reason than ours: idle, deleted, or its connection ended."""
        entry = self._entries.pop(flow_id, None)
        if entry is not None:
            share = entry.share
            share.drop(flow_id)
            self._sizes.fell(share)

    def resized(self, capacity: int | None, now_s: float) -> tuple[int, ...]:
        """Return the flows to remove under a new capacity, those of the largest shares first.

        A cache that had no limit knows no entries: tell it by `found` what is there.
        """
        self.capacity = capacity
        if capacity is None:
            self._entries, self._left, self._shares, self._sizes = {}, {}, {}, _Sizes()
            return ()
        return self._shrink(now_s)

    def leaving(self, capacity: int) -> tuple[int, ...]:
        """Return the flows that `resized` would have removed under a smaller capacity; nothing is changed."""
        going = {share: share.leaving() for share in self._shares.values()}
        return tuple(next(going[share]) for share in self._sizes.falling(len(self._entries) - capacity))

    def vport_removed(self, vport: int) -> None:
        """Forget a vport: its entries, which must be removed from the NIC, and its history."""
        share = self._shares.get(vport)
        if share is None:
            return
        for flow_id in tuple(share.entries):
            self.removed(flow_id)
        del self._shares[vport]
        self._left = {flow_id: other for flow_id, other in self._left.items() if other is not share}

    def _giver(self, share: Share, recent_pkts: int) -> Share | None:
        """Return the share that gives room by right, None when the VF has its part."""
        held = len(share.entries)
        if self._sizes.most < held + 2:
            return None
        active = self._sizes.active + (not held)
        if recent_pkts >= KNOWN_PKTS or held < (self.capacity or 0) // active:
            return self._sizes.largest()
        return None

    def _new_share(self, vport: int) -> Share:
        entries = 2 * (self.capacity or 0) // (self._sizes.active + 1)
        width = min(_HISTORY_MOST, max(_HISTORY_LEAST, 1 << entries.bit_length()))
        share = self._shares[vport] = Share(vport, Frequency(width, HALF_LIFE_S))
        return share

    def _put(self, flow_id: int, share: Share, recent_pkts: int, now_s: float, trial: Trials | None) -> None:
        entry = Entry(share, worth(recent_pkts, now_s), trial, queued=trial is not None)
        self._entries[flow_id] = entry
        share.put(flow_id, entry)
        self._sizes.rose(share)

    def _evict(self, flow_id: int, now_s: float) -> None:
        share = self._entries.pop(flow_id).share
        self.evictions[share.vport] += 1
        self._left[flow_id] = share
        forgotten = share.evict(flow_id, now_s)
        if forgotten is not None:
            del self._left[forgotten]
        self._sizes.fell(share)

    def _shrink(self, now_s: float) -> tuple[int, ...]:
        gone = []
        while len(self._entries) > (self.capacity or 0):
            victim = self._sizes.largest().least()
            if victim is None:
                break
            self._evict(victim, now_s)
            gone.append(victim)
        return tuple(gone)


class _Sizes:
    """The shares by how many entries they hold, so that the largest is found at once; sizes change by one."""

    def __init__(self) -> None:
        self.most = 0
        self.active = 0
        self._of_size: dict[int, dict[Share, None]] = {}

    def largest(self) -> Share:
        """Return a share with the most entries, of several the one that has had so many the longest."""
        return next(iter(self._of_size[self.most]))

    def falling(self, count: int) -> Iterator[Share]:
        """Yield which share would fall by one, so many times over; nothing is changed."""
        of_size = {size: deque(shares) for size, shares in self._of_size.items()}
        size = self.most
        for _ in range(count):
            share = of_size[size].popleft()
            of_size.setdefault(size - 1, deque()).append(share)
            size -= not of_size[size]
            yield share

    def rose(self, share: Share) -> None:
        """Note that a share got one more."""
        after = len(share.entries)
        self._move(share, after - 1, after)
        self.most = max(self.most, after)
        self.active += after == 1

    def fell(self, share: Share) -> None:
        """Note that a share got one fewer."""
        after = len(share.entries)
        self._move(share, after + 1, after)
        if self.most not in self._of_size:
            self.most = after
        self.active -= after == 0

    def _move(self, share: Share, before: int, after: int) -> None:
        if before:
            left = self._of_size[before]
            del left[share]
            if not left:
                del self._of_size[before]
        if after:
            self._of_size.setdefault(after, {})[share] = None

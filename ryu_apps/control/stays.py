"""Flows of which some entry is in no NIC: when the host last saw a packet of each, so that they age there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

from ryu_apps.control.unified_flow import UnifiedFlow


@dataclass(slots=True)
class _Stay:
    """One flow: its last packet that the host saw, when to look at it, and after which idle time and when it ends."""

    seen_s: float
    due_s: float
    idle_s: float
    ends_s: float


class Stays:
    """The flows by id; the timeouts of each are those that its entries would have."""

    def __init__(self) -> None:
        self._stays: dict[int, _Stay] = {}

    def __len__(self) -> int:
        return len(self._stays)

    def __contains__(self, flow_id: int) -> bool:
        return flow_id in self._stays

    def seen(self, flow: UnifiedFlow, now_s: float) -> None:
        """Note a packet of a flow that the host forwards, or that an entry of it has left its NIC."""
        stay = self._stays.get(flow.id)
        if stay is not None:
            stay.seen_s = now_s
            return
        entries = list(flow.entries())
        idle_s = min(made.idle_timeout_s for made in entries)
        hard_s = min((made.hard_timeout_s for made in entries if made.hard_timeout_s), default=inf)
        self._stays[flow.id] = _Stay(now_s, now_s + idle_s, idle_s, flow.created_s + hard_s)

    def leave(self, flow_id: int) -> None:
        """Forget a flow: it has ended, or all of its entries are in the NICs."""
        self._stays.pop(flow_id, None)

    def in_use(self, flow_id: int, now_s: float) -> bool:
        """Return whether the host has seen a packet of a flow within its idle time."""
        stay = self._stays.get(flow_id)
        return stay is not None and now_s - stay.seen_s <= stay.idle_s

    def idle(self, now_s: float) -> Iterator[tuple[int, bool]]:
        """Yield the flows that the host has seen no packet of, each once in its idle time, and whether its time is up.

        The host does not see what a NIC forwards, so that the first kind may be in use all the same.
        """
        for flow_id, stay in list(self._stays.items()):
            if now_s >= stay.ends_s:
                yield flow_id, True
            elif now_s >= stay.due_s:
                idle = now_s - stay.seen_s > stay.idle_s
                stay.due_s = (now_s if idle else stay.seen_s) + stay.idle_s
                if idle:
                    yield flow_id, False

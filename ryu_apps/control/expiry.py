"""When a connection ends because its entries do: both directions together, and not while either is in use."""

from __future__ import annotations

from enum import Enum

from ryu_apps.pipeline.cookie import EntryClass

# Reasons of a flow-removed message (OpenFlow 1.4.0, section 7.4.2).
IDLE_TIMEOUT = 0
HARD_TIMEOUT = 1
DELETE = 2
EVICTION = 5

# Switches look for idle entries about once a second, each in its own time.
LATE_NEWS_S = 2.0
# A question that is not answered by then never will be: its switch went away.
ANSWER_S = 60.0


class Ending(Enum):
    """What the loss of one entry means for its connection."""

    NONE = "the core removed it, or the NIC made room: the host still knows the connection"
    ASK = "one direction ran idle: see whether the other did"
    RENEW = "its time was over, but the connection was just seen in use: install it again"
    END = "the connection ends"


class Expiry:
    """Remembers which removals the core itself caused, and how far each direction had counted when last asked.

    A direction has an entry at every vport that it passes, and all of them run idle at about the same time.
    One question stands for all: while it is open others wait for it, and what comes just behind it is late news.
    """

    def __init__(self) -> None:
        self._expected: dict[int, set[tuple[int, int]]] = {}
        self._counted: dict[int, dict[EntryClass, int]] = {}
        self._asked_s: dict[int, float] = {}
        self._confirmed_s: dict[int, float] = {}

    def expect(self, flow_id: int, dpid: int, cookie: int) -> None:
        """Note that an entry of a flow that lives on is being removed by us."""
        self._expected.setdefault(flow_id, set()).add((dpid, cookie))

    def ending(self, flow_id: int, dpid: int, cookie: int, reason: int, now_s: float) -> Ending:
        """Return what a removal means for a flow that the core knows."""
        if (dpid, cookie) in self._expected.get(flow_id, ()):
            self._expected[flow_id].discard((dpid, cookie))
            return Ending.NONE
        if reason == EVICTION:
            return Ending.NONE
        if reason in (IDLE_TIMEOUT, HARD_TIMEOUT) and self.confirmed(flow_id, now_s):
            return Ending.RENEW
        if reason != IDLE_TIMEOUT:
            return Ending.END
        if now_s - self._asked_s.get(flow_id, -ANSWER_S) < ANSWER_S:
            return Ending.NONE
        self._asked_s[flow_id] = now_s
        return Ending.ASK

    def advanced(self, flow_id: int, direction: EntryClass, packets: int, now_s: float) -> bool:
        """Return whether a direction has seen packets since it was last asked; its partner starts again from none."""
        self._asked_s.pop(flow_id, None)
        self._confirmed_s[flow_id] = now_s
        counted = self._counted.setdefault(flow_id, {})
        before = counted.get(direction, 0)
        partner = EntryClass.FORWARD if direction is EntryClass.REPLY else EntryClass.REPLY
        counted[direction] = packets
        counted[partner] = 0
        return packets > before

    def confirm(self, flow_id: int, now_s: float) -> None:
        """Note that a flow is in use: what else is told of its entries is late news, and no answer is waited for."""
        self._asked_s.pop(flow_id, None)
        self._confirmed_s[flow_id] = now_s

    def confirmed(self, flow_id: int, now_s: float) -> bool:
        """Return whether a flow was seen in use so lately that a removal or a count told now is from before.

        A switch tells of a removal some time after it: a packet that missed meanwhile may be here first.
        """
        return now_s - self._confirmed_s.get(flow_id, -LATE_NEWS_S) < LATE_NEWS_S

    def forget(self, flow_id: int) -> None:
        """Drop what is remembered of a flow that is gone."""
        self._expected.pop(flow_id, None)
        self._counted.pop(flow_id, None)
        self._asked_s.pop(flow_id, None)
        self._confirmed_s.pop(flow_id, None)

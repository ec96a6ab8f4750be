"""Entries of TCP connections that their switch has let go by itself, because a FIN has ended their direction.

Four such messages come for each connection that closes, so they are taken without making whole flows of them.
The plain twin is `Ageing.flow_removed`.
"""

from __future__ import annotations

from typing import Final

from ryu_apps.control.events import FlowRemoved
from ryu_apps.control.expiry import HARD_TIMEOUT, IDLE_TIMEOUT
from ryu_apps.control.flow_table import FlowTable
from ryu_apps.control.life import Life
from ryu_apps.control.tally import REMOVED, Tally
from ryu_apps.engine.policy import Policy
from ryu_apps.model.rules import Direction
from ryu_apps.pipeline.cached import FIN_HARD_TIMEOUT_S
from ryu_apps.pipeline.cookie import DETAIL_MASK, MARK, EntryClass

_FORWARD: Final = MARK << 4 | EntryClass.FORWARD
_REPLY: Final = MARK << 4 | EntryClass.REPLY
_TIMEOUTS: Final = (IDLE_TIMEOUT, HARD_TIMEOUT)


def ended_by_fin(event: FlowRemoved) -> bool:
    """Return whether an entry is gone because the direction of its packets has ended."""
    return event.hard_timeout_s == FIN_HARD_TIMEOUT_S and event.reason in _TIMEOUTS


class LettingGo:
    """Takes note of such entries where no NIC is limited: there nobody else keeps what is in the NICs."""

    def __init__(self, policy: Policy, flows: FlowTable, life: Life, tally: Tally) -> None:
        """Keep what is shared with the core."""
        self._flows = flows
        self._life = life
        self._tally = tally
        self.follow(policy)

    def follow(self, policy: Policy) -> None:
        """Take note of the policy in force."""
        hosts = policy.snapshot.hosts.values()
        self._limited = any(host.limits.entries(way) is not None for host in hosts for way in Direction)

    def take(self, cookie: int, reason: int, now_s: float) -> bool:
        """Note that an entry with FIN_HARD_TIMEOUT_S is gone; False when that must be told the usual way."""
        made_for = cookie >> 52
        if self._limited or reason not in _TIMEOUTS or (made_for != _FORWARD and made_for != _REPLY):
            return False
        flow_id = cookie & DETAIL_MASK
        entries = self._flows.lone_entries(flow_id)
        if not entries:
            return False
        self._tally.count(REMOVED[reason], cookie >> 28 & 0xFFF)
        self._life.let_go(flow_id, reply=made_for == _REPLY, entries=entries, now_s=now_s)
        return True

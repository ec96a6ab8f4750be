"""What connections need when time passes: closed ones leave the switch, and crowded vports are looked at."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from ryu.lib import hub

from ryu_apps.control.core import ControlCore
from ryu_apps.model.errors import VfswitchError
from ryu_apps.pipeline.cookie import DETAIL_MASK, Cookie, EntryClass
from ryu_apps.southbound import calls
from ryu_apps.southbound.links import Links

LOG = logging.getLogger("vfswitch")

# How often closed connections are taken off the switch, and a crowded vport is looked at.
CLOSE_EVERY_S: Final = 0.05
LOOK_EVERY_S: Final = 0.1
# The same while attempts wait for a place, and how many of them are decided without a pause.
WAITED_FOR_EVERY_S: Final = 0.01
_ADMITTED_AT_ONCE: Final = 128
# So many of its connections are asked for at once, and again without a pause when this part of them was answered.
AT_ONCE: Final = 512
WORTH_IT: Final = 0.25


class Upkeep:
    """Two green threads that run only while there is something to do."""

    def __init__(self, core: ControlCore, links: Links, clock: Callable[[], float]) -> None:
        self._core = core
        self._links = links
        self._clock = clock
        self._closing = False
        self._looking = False

    def wake(self) -> None:
        """Begin to work if there is something to do and nobody does it; does not wait."""
        life = self._core.life
        if life.busy and not self._closing:
            self._closing = True
            hub.spawn(self._close)
        if life.crowded and not self._looking:
            self._looking = True
            hub.spawn(self._look)

    def _close(self) -> None:
        try:
            while self._core.life.busy:
                hub.sleep(CLOSE_EVERY_S)
                while self._core.life.overdue(now_s := self._clock()):
                    self._links.apply(self._core.ageing.close_due(now_s))
                    hub.sleep(0)
        except Exception:
            self._links.fault("closing connections")
        finally:
            self._closing = False

    def _look(self) -> None:
        life = self._core.life
        looked_at: dict[int, int] = {}
        try:
            while life.crowded or self._core.crowding:
                hub.sleep(self._look_once(looked_at))
        finally:
            self._looking = False

    def _look_once(self, looked_at: dict[int, int]) -> float:
        """Return when to look again, in seconds; a fault ends nothing, since attempts wait for the next look."""
        try:
            found = [self._count_answers(vport, looked_at) for vport in tuple(self._core.life.crowded)]
            waits = self._admit()
        except Exception:
            self._links.fault("looking for answers")
            return LOOK_EVERY_S
        # Where many were answered others will be, and the vport's attempts must not wait for our asking.
        seldom_s = WAITED_FOR_EVERY_S if waits else LOOK_EVERY_S
        return seldom_s if max(found, default=0.0) < WORTH_IT else 0

    def _admit(self) -> bool:
        """Begin connections that waited for a place in their vport's quota; return whether others still wait."""
        core, now_s = self._core, self._clock()
        for attempt in core.crowding.due(now_s, _ADMITTED_AT_ONCE):
            self._links.apply(core.packet_in(attempt, now_s, again=True))
        return bool(core.crowding)

    def _count_answers(self, vport: int, looked_at: dict[int, int]) -> float:
        """Take connections off a vport's half-open ones when the entry of their replies has counted a packet.

        Some are asked for at once, the oldest first, and when all were looked at they are looked at again; looked_at
        holds the last one by vport. Return how much of what was asked for had been answered.
        """
        life, flows, dpid = self._core.life, self._core.flows, self._core.dpid_of(vport)
        link = self._links.get(dpid) if dpid is not None else None
        asked = life.half_open_at(vport, looked_at.get(vport, 0), AT_ONCE)
        looked_at[vport] = asked[-1] if len(asked) == AT_ONCE else 0
        made = [(flow_id, flow.generation) for flow_id in asked if (flow := flows.get(flow_id)) is not None]
        cookies = [Cookie(EntryClass.REPLY, generation, vport, flow_id).pack() for flow_id, generation in made]
        if link is None or not cookies:
            return 0.0
        try:
            found = calls.dump_cookies(link, cookies)
        except VfswitchError as error:
            LOG.warning("%s", error.message)
            return 0.0
        answered = [entry.cookie & DETAIL_MASK for entry in found if entry.packets]
        for flow_id in answered:
            life.answered(flow_id)
        return len(answered) / len(cookies)

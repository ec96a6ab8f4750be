"""Vports that ask far too much: the meters of misses are read several times a second, and slowed down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from ryu.lib import hub

from ryu_apps.control.core import ControlCore
from ryu_apps.control.effects import MeterChange
from ryu_apps.control.floods import Asker, Floods, Metered
from ryu_apps.control.holding import MOST_S, PAUSE_S
from ryu_apps.southbound import calls
from ryu_apps.southbound.abreast import Abreast
from ryu_apps.southbound.counting import Counting
from ryu_apps.southbound.link import Link
from ryu_apps.southbound.links import Links

POLL_S: Final = 0.25
# Between two parts of what goes soon: others' first packets pass meanwhile.
HASTEN_EVERY_S: Final = 0.1


class FloodWatch:
    """Reads the meters of misses of all switches that have some."""

    def __init__(self, core: ControlCore, links: Links, counting: Counting, clock: Callable[[], float]) -> None:
        self._core = core
        self._links = links
        self._counting = counting
        self._clock = clock
        self._floods = Floods()
        self._hastening = False
        self._looks = Abreast(links, "slowing a flood down")

    def watch(self) -> None:
        """Slow floods down for ever."""
        while True:
            hub.sleep(POLL_S)
            try:
                for dpid, metered in self._floods.meters(self._core.policy).items():
                    link = self._links.get(dpid)
                    if link is not None and dpid in self._core.datapaths:
                        self._looks.look(link, partial(self._look, metered))
                self._age_aggressively()
            except Exception:
                self._links.fault("slowing floods down")

    def _look(self, metered: Metered, link: Link) -> None:
        slow = self._floods.slowed_at(link.id)

        def decide(dropped: Mapping[int, int]) -> MeterChange:
            present = calls.dump_meters(link, numbers=tuple(slow)) if slow else {}
            # A change of meters that came meanwhile sets them itself; they are looked at again next time.
            if self._floods.meters(self._core.policy).get(link.id) is not metered:
                return MeterChange()
            return MeterChange(altered=self._floods.counted(link.id, metered.configs, dropped, present, self._clock()))

        self._counting.read_dropped(link, metered.owners, decide)

    def _age_aggressively(self) -> None:
        """Tell the core who was slowed down at the last looks; what they had begun before goes soon as well."""
        new = self._core.aggressive.follow(self._floods.askers(self._core.policy))
        if new:
            hub.spawn(self._hasten, new)

    def _hasten(self, askers: frozenset[Asker]) -> None:
        """Find what these had begun, and hasten it unless others of these threads do, which then take it too."""
        aggressive = self._core.aggressive
        try:
            # The last of these connections may be held back while their first packets are under way.
            hub.sleep(MOST_S + PAUSE_S)
            for _ in aggressive.look(askers, self._clock()):
                hub.sleep(0)
            if self._hastening:
                return
            self._hastening = True
            try:
                for effects in aggressive.hasten():
                    self._links.apply(effects)
                    hub.sleep(HASTEN_EVERY_S if effects else 0)
            finally:
                self._hastening = False
        except Exception:
            self._links.fault("having what comes of a flood go soon")

"""Asking all switches for what their standing entries have counted, and all counts as one value."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Final

import eventlet
from eventlet.semaphore import Semaphore

from ryu_apps.control.core import ControlCore
from ryu_apps.control.effects import AnyEntry, MeterChange
from ryu_apps.control.events import PresentEntry
from ryu_apps.control.health import function_statistics
from ryu_apps.control.ledger import Ledger, counts
from ryu_apps.control.pace import Pace
from ryu_apps.control.statistics import Statistics, asked_of, general_figures, host_statistics, owners
from ryu_apps.model.errors import VfswitchError
from ryu_apps.pipeline.cached import CachedEntry
from ryu_apps.pipeline.cookie import MARK, STANDING_MASK
from ryu_apps.pipeline.meters import metered_vports
from ryu_apps.southbound import calls
from ryu_apps.southbound.link import Link
from ryu_apps.southbound.links import Links
from ryu_apps.southbound.meters import ALL, commit
from ryu_apps.southbound.reported import entry_id

ANSWER_S: Final = 5.0
"""How long a switch may take to tell its counts; half of what Prometheus waits for a whole scrape."""

SOON_S: Final = 1.0
"""How long a switch may take to tell what its meters have dropped, and to change them."""

AGREE_S: Final = 0.2
"""How long the counts of a switch wait for packet-ins that came before them."""

_MARKED: Final = MARK << 56


class Counting:
    """Keeps the ledger fresh: one round of asking at a time, and all who wait for the same one share it."""

    def __init__(self, core: ControlCore, links: Links, clock: Callable[[], float]) -> None:
        self._core = core
        self._links = links
        self._clock = clock
        self._ledger = Ledger(core.tally)
        self._pace = Pace()
        self._turn = Semaphore(1)
        self._begun_s: float | None = None
        self._unanswered: tuple[int, ...] = ()
        # A count of meters that was read before they changed must not be taken after.
        self._meters: defaultdict[int, Semaphore] = defaultdict(lambda: Semaphore(1))

    def statistics(self, max_age_s: float) -> Statistics:
        """Return all counts; those of the switches from a round that began at most so many seconds ago."""
        wanted_s = self._clock() - max_age_s
        with self._turn:
            if self._begun_s is None or self._begun_s < wanted_s:
                self._ask()
        self.settle()
        return self._now()

    def settle(self) -> None:
        """Take note of which vport has which number now: after each change of vports."""
        self._ledger.settle(owners(self._core))

    def removed(self, dpid: int, entries: Iterable[AnyEntry], meters: Iterable[int]) -> None:
        """Take note that a switch has removed entries and has meters count from nothing, or no more."""
        standing = (entry for entry in entries if not isinstance(entry, CachedEntry) and counts(entry))
        self._ledger.removed(dpid, map(entry_id, standing))
        self._ledger.begin_anew(dpid, meters)

    def found(self, dpid: int, present: Iterable[PresentEntry], meters: Container[int]) -> None:
        """Take note of what a switch has that was away."""
        self._ledger.keep(dpid, {entry_id(entry): entry.packets for entry in present if counts(entry)}, meters)

    def sample(self) -> None:
        """Take a sample of the connections begun; called at even times."""
        self._pace.sample(self._clock(), self._core.tally.total["begun"])

    def read_dropped(
        self, link: Link, owners: Mapping[int, int], decide: Callable[[Mapping[int, int]], MeterChange]
    ) -> None:
        """Take what the meters of a switch's vports have dropped, and change them as `decide` says.

        Raises VfswitchError where the switch refuses. A switch that does not answer soon is left for another time.
        What a meter drops between its reading and its change, some ms of a flood, is not counted.
        """
        # Connections may have thousands of meters.
        numbers = tuple(owners) if len(self._core.flows.meters) else (ALL,)
        with eventlet.Timeout(SOON_S, False), self._meters[link.id]:
            link.await_changed()
            dropped = {meter: count.dropped_pkts for meter, count in calls.count_meters(link, SOON_S, numbers).items()}
            self._ledger.take_dropped(link.id, dropped, owners)
            change = decide(dropped)
            commit(link, change, SOON_S)

    def _ask(self) -> None:
        begun_s = self._clock()
        asked = [link for link in self._links.all() if link.id in self._core.datapaths]
        answers = [eventlet.spawn(self._told, link) for link in asked]
        self._unanswered = tuple(link.id for link, told in zip(asked, answers, strict=True) if not told.wait())
        self._begun_s = begun_s

    def _told(self, link: Link) -> bool:
        """Return whether a switch told its counts in time; one that does not even read is given up on too."""
        metered = metered_vports(self._core.policy, link.id)
        try:
            with eventlet.Timeout(ANSWER_S):
                link.await_changed()
                self._ledger.ask(link.id)
                present = calls.dump_flows(link, cookie=_MARKED, cookie_mask=STANDING_MASK, timeout_s=ANSWER_S)
                with self._meters[link.id]:
                    link.await_changed()
                    meters = calls.count_meters(link, ANSWER_S) if metered else {}
                    dropped = {meter: count.dropped_pkts for meter, count in meters.items()}
                    self._ledger.take_dropped(link.id, dropped, metered)
        except (VfswitchError, eventlet.Timeout):
            self._ledger.unanswered(link.id)
            return False
        self._wait_for_misses(link)
        self._ledger.take(link.id, present, asked_of(self._core.tally))
        return True

    def _wait_for_misses(self, link: Link) -> None:
        """Return when what came before the switch's counts is decided, so that both sides' counts agree.

        A flood is not waited for.
        """
        until_s = self._clock() + AGREE_S
        while link.waiting and self._clock() < until_s:
            eventlet.sleep(0.001)

    def _now(self) -> Statistics:
        core, ledger, links = self._core, self._ledger, self._links
        hosts, counts = [], core.tally.by_vport()
        for _, host in sorted(core.policy.snapshot.hosts.items()):
            answered = not set(host.dpids) & set(self._unanswered)
            latency = links.latencies[host.dpid].now()
            hosts.append(host_statistics(core, ledger, host, counts, answered=answered, miss_latency=latency))
            eventlet.sleep(0)
        return Statistics(
            flows=len(core.flows),
            held_back=len(core.holding),
            generation=core.policy.snapshot.generation,
            begun_per_s=self._pace.per_s(self._clock(), core.tally.total["begun"]),
            hosts=tuple(hosts),
            named=frozenset(name for number, (name, _) in owners(core).items() if ledger.is_named(number)),
            general=general_figures(core),
            faults=dict(links.counters),
            unanswered=self._unanswered,
            pools=core.flows.leases.uses(core.policy.snapshot.nat_pools),
            functions=tuple(function_statistics(core)),
        )

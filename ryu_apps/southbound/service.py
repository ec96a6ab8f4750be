"""The running controller as its shells see it: the core, the switches and the store kept in agreement."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any

from ryu.lib import hub

from ryu_apps.control.change import PolicyChange, plan_change
from ryu_apps.control.core import ControlCore
from ryu_apps.control.effects import AnyEntry, CountEntry, Effect
from ryu_apps.control.events import EntryCounted, FlowRemoved, PacketIn, PresentEntry, ProbeCaught
from ryu_apps.control.fast_path import FastPath
from ryu_apps.control.hints import Hints
from ryu_apps.control.holding import PAUSE_S
from ryu_apps.control.needs import missing_ports, needed_hosts
from ryu_apps.control.promises import Progress, Promises
from ryu_apps.control.service import Outcome
from ryu_apps.control.statistics import Statistics
from ryu_apps.control.trace import trace
from ryu_apps.model.checks import check
from ryu_apps.model.errors import FieldError, Invalid, SwitchAway, VfswitchError
from ryu_apps.model.policy import Change, Snapshot
from ryu_apps.model.rights import Rights, check_rights
from ryu_apps.model.rules import Direction
from ryu_apps.southbound import calls, nic_watch, share_watch
from ryu_apps.southbound.bringup import BringUp
from ryu_apps.southbound.counting import Counting
from ryu_apps.southbound.flood_watch import FloodWatch
from ryu_apps.southbound.functions import Functions
from ryu_apps.southbound.handler import Refusal
from ryu_apps.southbound.link import Link
from ryu_apps.southbound.links import Links, install
from ryu_apps.southbound.probing import Probing
from ryu_apps.southbound.reports import flow_reports, host_reports, standings
from ryu_apps.southbound.transactions import Keeper, Transactions
from ryu_apps.southbound.upkeep import Upkeep
from ryu_apps.southbound.ways import Ways

LOG = logging.getLogger("vfswitch")

# What ways to functions follow from, and which ports are on them.
_ON_WAYS = frozenset({"hosts", "vports", "segments", "functions", "chains"})


class SwitchService:
    """Answers the shells and the receive loops; every change of policy goes through one lock."""

    def __init__(self, core: ControlCore, keeper: Keeper, clock: Callable[[], float] = time.monotonic) -> None:
        self._core = core
        self._clock = clock
        self._lock = hub.BoundedSemaphore(1)
        self._links: Links = install(self, clock=clock)
        self._ways = Ways(core, self._lock, self._links)
        self._bringup = BringUp(core, self._lock, clock, self._links.get)
        self._probing = Probing(core, self._links, self._bringup, clock, self._ways.follow)
        self.functions = Functions(core, self._links, self._ways, clock)
        self._upkeep = Upkeep(core, self._links, clock)
        self._transactions = Transactions(core, keeper, self._links, self._bringup, clock)
        self._releasing = False
        self._promises = Promises()
        self._counting = Counting(core, self._links, clock)
        self._hints = Hints(core)
        hub.spawn(self._tick)
        hub.spawn(nic_watch.watch, core, self._links, clock)
        hub.spawn(share_watch.watch, core, self._links)
        hub.spawn(FloodWatch(core, self._links, self._counting, clock).watch)

    # -- handler of the receive loops: nothing here waits ------------------------------------------------------------

    def packet_in(self, event: PacketIn, now_s: float) -> Sequence[Effect]:
        """Return the core's effects of a packet-in."""
        return self._core.packet_in(event, now_s)

    @property
    def fast_path(self) -> FastPath:
        """The core's answers to first packets of known kinds."""
        return self._core.fast_path

    def answered(self) -> None:
        """Have entries released that were held back, if none of that is under way."""
        if self._core.holding and not self._releasing:
            self._releasing = True
            hub.spawn(self._release)
        if self._core.life.restless:
            self._upkeep.wake()

    def probe_caught(self, event: ProbeCaught, now_s: float) -> None:
        """Take note of a probe that has come out of a function."""
        self._probing.caught(event, now_s)

    def miss_dropped(self, vport: int) -> None:
        """Count a packet-in that found its vport's queue full."""
        self._core.tally.count("miss-queue", vport)

    def flow_removed(self, event: FlowRemoved, now_s: float) -> Sequence[Effect]:
        """Return the core's effects of a removed entry; questions to a switch are asked aside."""
        return self._ask(self._core.ageing.flow_removed(event, now_s))

    def removed(self, link: Link, entries: Sequence[AnyEntry], meters: Sequence[int]) -> None:
        """Have what entries and meters count once they are made again told from what they have counted."""
        self._counting.removed(link.id, entries, meters)

    def found(self, link: Link, present: Sequence[PresentEntry], meters: Container[int]) -> None:
        """Have what a datapath has lost while it was away told from what it has."""
        self._counting.found(link.id, present, meters)

    def link_up(self, link: Link) -> None:
        """Begin to bring a datapath to agree."""
        self._bringup.note(link)
        hub.spawn(self._bringup.run, link)
        if self._ways.concern(link):
            hub.spawn(self._ways.follow)

    def link_down(self, link: Link) -> None:
        """Note that a datapath is away."""
        self._core.disconnected(link.id)
        self._bringup.agreements.pop(link.id, None)
        LOG.info("datapath %016x is away", link.id)

    def ports_changed(self, link: Link) -> None:
        """Bring a datapath to agree with its new set of ports."""
        if link.id in self._core.datapaths and self._core.datapaths[link.id] != link.known_ports():
            hub.spawn(self._bringup.refresh, link)
        if self._ways.concern(link):
            hub.spawn(self._ways.follow)

    def refused(self, link: Link, refusal: Refusal) -> None:
        """Count an entry that a switch would not take."""
        self._core.tally.count(f"switch-refused {refusal.text}")

    def _ask(self, effects: Iterable[Effect]) -> list[Effect]:
        now: list[Effect] = []
        for effect in effects:
            if isinstance(effect, CountEntry):
                hub.spawn(self._count, effect)
            else:
                now.append(effect)
        return now

    def _count(self, question: CountEntry) -> None:
        """Ask a switch for a packet count; no answer counts as none, so that no connection outlives its entries."""
        link = self._links.get(question.dpid)
        found: list[PresentEntry] = []
        try:
            if link is not None:
                found = calls.dump_flows(link, cookie=question.cookie, cookie_mask=(1 << 64) - 1)
        except VfswitchError as error:
            LOG.warning("%s", error.message)
        answer = EntryCounted(question.cookie, found[0].packets if found else None)
        self._links.apply(self._core.ageing.entry_counted(answer, self._clock()))

    def _release(self) -> None:
        """Install what is held back, each when its time has come, until nothing is."""
        try:
            while self._core.holding:
                hub.sleep(PAUSE_S / 2)
                # The receive loops go first: what has arrived meanwhile tells that a flow has not paused.
                hub.sleep(0)
                self._links.apply(self._core.release(self._clock()))
        except Exception:
            self._links.fault("releasing")
        finally:
            self._releasing = False

    def _tick(self) -> None:
        while True:
            hub.sleep(5)
            try:
                self._links.apply(self._ask(self._core.ageing.tick(self._clock())))
                self._counting.sample()
            except Exception:
                self._links.fault("ageing")

    # -- what the shells ask -----------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Return the policy snapshot in force."""
        return self._core.policy.snapshot

    def change(
        self, changes: Sequence[Change], *, rights: Rights, dry_run: bool = False, wait: bool = True
    ) -> Outcome:
        """Check, keep and install changes as one; see control.service.Service."""
        with self._lock:
            before = self.snapshot()
            check_rights(rights, before, changes)
            self._transactions.keep_owed()
            if all(before.get(change.kind, change.key) == change.value for change in changes):
                away = () if dry_run else self._waited_for(needed_hosts(before, before, changes), wait)
                if away:
                    self._promises.promise(before.generation, away)
                return Outcome(state="stored" if away else "unchanged", generation=before.generation, waiting_for=away)
            after = check(before, changes)
            faults = missing_ports(after, changes, {link.id: link.known_ports() for link in self._links.all()})
            if faults:
                raise Invalid("the switch has no such port", faults)
            self.functions.refuse_live(before, changes)
            plan = plan_change(self._core, after, changes, self.pause)
            if dry_run:
                return _outcome("planned", plan, difference=self._transactions.preview(plan))
            away = self._waited_for(needed_hosts(before, after, changes), wait)
            self._transactions.carry_out(plan)
            if any(change.kind == "vports" for change in changes):
                self._counting.settle()
            if any(change.kind in _ON_WAYS for change in changes):
                self._probing.settle()
                self._ways.settle()
            # A host may be registered before its switch connects; the answer says that it waits.
            absent = self._away(str(change.key) for change in changes if change.kind == "hosts")
            waiting = tuple(sorted({*away, *absent}))
            if waiting:
                self._promises.promise(after.generation, waiting)
            return _outcome("stored" if waiting else "installed", plan, waiting_for=waiting)

    def _waited_for(self, hosts: Iterable[str], wait: bool) -> tuple[str, ...]:
        """Return which of the hosts that a change needs are away; SwitchAway when the client would wait for them."""
        away = self._away(hosts)
        if away and wait:
            faults = [FieldError("host", f"host {name!r} is not connected") for name in away]
            raise SwitchAway("the change needs a switch that is away; nothing was changed", faults)
        return away

    def _away(self, hosts: Iterable[str]) -> tuple[str, ...]:
        known, up = self.snapshot().hosts, self._core.datapaths
        asked = [known[name] for name in hosts if name in known]
        return tuple(sorted(host.id for host in asked if not all(dpid in up for dpid in host.dpids)))

    def progress(self, generation: int) -> Progress:
        """Return how far the change has come that made a generation of the policy."""
        found = standings(self.snapshot(), self._core.datapaths, self._bringup.agreements, self._bringup.failures)
        return self._promises.progress(generation, found)

    def hosts(self) -> Iterable[Mapping[str, Any]]:
        """Return what is known of each host and of each unregistered datapath."""
        return host_reports(self._core, self._links, self._bringup.agreements, self._bringup.failures)

    def flows(self, *, vport: str | None, after: int, limit: int) -> Sequence[Mapping[str, Any]]:
        """Return unified flows with their counters, ascending by id."""
        return flow_reports(self._core, self._links, vport, after, limit, self._clock())

    def hints(self, *, vport: str, since: str, limit: int) -> Mapping[str, Any]:
        """Return which packets of a VM the NIC knows, as far as it has changed since a version."""
        return self._hints.ask(self._core.policy.snapshot.vports[vport], since, limit, self._clock())

    def trace(self, *, vport: str, direction: str, packet: Mapping[str, str]) -> Mapping[str, Any]:
        """Return what would become of a packet."""
        return trace(self._core, vport, Direction(direction), packet)

    def statistics(self, *, max_age_s: float) -> Statistics:
        """Return all counts; the switches were asked for theirs at most so many seconds ago."""
        return self._counting.statistics(max_age_s)

    def pause(self) -> None:
        """Let misses be decided in between."""
        hub.sleep(0)


def _outcome(
    state: str, plan: PolicyChange, *, waiting_for: tuple[str, ...] = (), difference: tuple[str, ...] = ()
) -> Outcome:
    return Outcome(
        state=state,
        generation=plan.after.snapshot.generation,
        waiting_for=waiting_for,
        difference=difference,
        touched_flows=len(plan.touched),
    )

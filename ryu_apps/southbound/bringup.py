"""A datapath that connects: its entries read, compared and brought to agree, without touching what already does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ryu.lib import hub

from ryu_apps.control.adoption import Found, adopt_flows
from ryu_apps.control.change import SLICE_ENTRIES, base_of, meters_of
from ryu_apps.control.core import ControlCore
from ryu_apps.control.effects import MeterChange, SwitchChange, merged, meter_change
from ryu_apps.control.events import PresentEntry
from ryu_apps.control.leading import leads
from ryu_apps.control.quarantine import keep_leases
from ryu_apps.model.errors import NotConfirmed, SwitchAway, VfswitchError
from ryu_apps.pipeline.beside import connection_meter_entry
from ryu_apps.pipeline.cached import CachedEntry
from ryu_apps.pipeline.cookie import CACHED, unpack
from ryu_apps.pipeline.entry import FlowEntry
from ryu_apps.pipeline.meters import MeterConfig
from ryu_apps.pipeline.pieces import entries_of
from ryu_apps.southbound import calls
from ryu_apps.southbound.cached_match import key_of_match
from ryu_apps.southbound.led import replies_led, sources_led
from ryu_apps.southbound.link import Link
from ryu_apps.southbound.recall import Recall
from ryu_apps.southbound.reconcile import Comparison, compare

LOG = logging.getLogger("vfswitch")

# After a start, how long the first datapath waits for the others, so that connections across hosts are seen whole.
GATHER_S = 1.0


@dataclass(frozen=True, slots=True)
class Agreement:
    """How a datapath stood against the policy when it was last compared."""

    state: str
    kept: int = 0
    changed: int = 0
    adopted: int = 0
    foreign: int = 0
    detail: str = ""


class BringUp:
    """Brings datapaths to agree with the core; one at a time, under the lock that policy changes take too."""

    def __init__(
        self,
        core: ControlCore,
        lock: hub.BoundedSemaphore,
        clock: Callable[[], float],
        current: Callable[[int], Link | None],
    ) -> None:
        """Keep what is shared; `current` returns the connection of a datapath that counts now."""
        self._core = core
        self._lock = lock
        self._clock = clock
        self._current = current
        self._recall = Recall(core)
        self._met: set[int] = set()
        self._silent: set[int] = set()
        core.flows.leases.unread = self.expected()
        self._dumps: dict[int, list[PresentEntry]] = {}
        self.agreements: dict[int, Agreement] = {}
        # What the last attempt failed on, of datapaths that have not agreed since.
        self.failures: dict[int, str] = {}

    def expected(self) -> set[int]:
        """Return the datapaths that hosts are registered for."""
        return self._core.policy.snapshot.dpids()

    def note(self, link: Link) -> None:
        """Note that a datapath is up; one that was silent, or whose entries must be read, has to answer before."""
        if link.id in self.expected() and link.id not in self._silent and not self._recall.owed(link.id):
            self._core.connected(link.id, link.known_ports())

    def give_up(self, link: Link) -> None:
        """Close a connection that is silent; no change goes to its datapath before it has answered something."""
        self._silent.add(link.id)
        link.close()

    def run(self, link: Link) -> None:
        """Bring one datapath to agree; failures are kept as its state and the connection is closed to try again.

        It has answered something before the lock is taken, so that no change waits for a silent one.
        """
        dpid = link.id
        try:
            if dpid not in self.expected():
                self.agreements[dpid] = _unregistered(link)
                return
            self.agreements[dpid] = Agreement("reconciling")
            link.set_fragments_nx_match()
            if dpid not in self._met:
                self._gather(link)
            calls.barrier(link)
            with self._lock:
                if self._current(dpid) is link:  # It may have gone, or come back, while others had the lock.
                    self.agree(link)
        except VfswitchError as error:
            self._fail(link, error.message, silent=isinstance(error, NotConfirmed))
        except Exception:
            LOG.exception("datapath %016x cannot be brought to agree", dpid)
            self._fail(link, f"datapath {link.name} met a fault of the controller; see its log")

    def greet(self, link: Link) -> None:
        """Bring a datapath to agree that was connected before its host was registered; the caller holds the lock.

        Raises what the link raises; one that is silent is closed, so that undoing the change does not wait for it too.
        """
        try:
            calls.barrier(link)
            self.note(link)
            link.set_fragments_nx_match()
            self.agree(link)
        except NotConfirmed:
            self.give_up(link)
            raise

    def again(self, link: Link) -> None:
        """Bring a datapath to agree after a change was undone, or have it connect anew; the caller holds the lock."""
        try:
            calls.barrier(link)
            self.agree(link)
        except VfswitchError as error:
            detail = f"{error.message}; it does not agree and is reconnected"
            self._fail(link, detail, silent=isinstance(error, NotConfirmed))

    def refresh(self, link: Link) -> None:
        """Bring a datapath to agree with its new ports, once for all changes that come together."""
        with self._lock:
            stale = self._core.datapaths.get(link.id) != link.known_ports()
        if stale:
            self.run(link)

    def _fail(self, link: Link, detail: str, *, silent: bool = False) -> None:
        LOG.warning("%s", detail)
        if self._current(link.id) is link:
            self.agreements[link.id] = Agreement("failed", detail=detail)
            self.failures[link.id] = detail
            if silent:
                self._silent.add(link.id)
            link.close()

    def _gather(self, link: Link) -> None:
        """Read the entries of a datapath met for the first time, and wait a little for the others to be read."""
        present = self._dumps[link.id] = calls.dump_flows(link)
        self._met.add(link.id)
        if self._recall.owed(link.id):
            with self._lock:
                self._hear(link, present)
        until_s = self._clock() + GATHER_S
        while not self.expected() <= self._met and self._clock() < until_s:
            hub.sleep(0.02)
        if self._dumps:
            dumps, self._dumps = self._dumps, {}
            with self._lock:
                found = [entry for present in dumps.values() for entry in _cached(present)]
                led = {flow: source for present in dumps.values() for flow, source in sources_led(present).items()}
                adopted = adopt_flows(self._core, found, self._clock(), led)
                left = [each for present in dumps.values() for each in replies_led(present)]
                keep_leases(self._core, left, self._clock())
                self._core.flows.leases.unread -= dumps.keys()
            for dpid in dumps:
                self.agreements[dpid] = Agreement("reconciling", adopted=adopted)

    def agree(self, link: Link) -> Comparison:
        """Compare one datapath with what it must have and change what differs; the caller holds the lock."""
        dpid = link.id
        if not self._recall.owed(dpid):
            self._core.connected(dpid, link.known_ports())
        self._core.flows.meters.forget_told(dpid)
        present = calls.dump_flows(link)
        self._hear(link, present)
        self._core.offload.recount(dpid, present, self._clock())
        result = compare(dpid, present, self.wanted(dpid))
        found = calls.dump_meters(link)
        link.links.found(link, present, found)
        meters = self._meters(dpid, found)
        for change in merged([SwitchChange(dpid=dpid, meters=meters), *result.changes]).sliced(SLICE_ENTRIES):
            calls.commit(link, change)
            self._core.tally.installed(change.added)
        changed = sum(len(change.added) + len(change.removed) for change in result.changes)
        changed += sum(len(part) for part in meters)
        adopted = self.agreements.get(dpid, Agreement("")).adopted
        self.failures.pop(dpid, None)
        self.agreements[dpid] = Agreement("ready", result.kept, changed, adopted, len(result.foreign))
        LOG.info("datapath %016x ready: %d entries kept, %d changed, %d foreign, %d connections taken over",
                 dpid, result.kept, changed, len(result.foreign), adopted)
        return result

    def _hear(self, link: Link, present: Sequence[PresentEntry]) -> None:
        """Take what the entries of a datapath say of its instances; from now on they may change."""
        if self._current(link.id) is not link:
            raise SwitchAway(f"datapath {link.name} is not connected")
        self._silent.discard(link.id)
        self._recall.take(link, present)
        self._core.connected(link.id, link.known_ports())

    def wanted(self, dpid: int) -> list[FlowEntry | CachedEntry]:
        """Return every entry that a datapath must have."""
        core = self._core
        flows = (flow for flow in core.flows if not core.ageing.in_host(flow))
        cached = [made for flow in flows for made in core.nic_caches.entries(flow) if core.dpid_of(made.vport) == dpid]
        led = [made for at, made in leads(core.flows, core.policy.vports, core.dpid_of) if at == dpid]
        owned = [
            connection_meter_entry(use.need.number, use.need.vport, use.need.connection)
            for use in core.flows.meters.at(dpid)
        ]
        return [*entries_of(base_of(core.policy, dpid, core.datapaths[dpid])), *cached, *led, *owned]

    def _meters(self, dpid: int, had: Mapping[int, MeterConfig | None]) -> MeterChange:
        """Return what gives a datapath, which was found to have these, the meters that it must have.

        Those of connections that began while it was asked were sent by themselves.
        """
        core = self._core
        sent, unsent = core.flows.meters.claim(dpid)
        wanted = {**core.sharing.as_set(dpid, had, meters_of(core.policy, dpid)), **unsent}
        return meter_change({number: found for number, found in had.items() if number not in sent}, wanted)


def _unregistered(link: Link) -> Agreement:
    """Return how a datapath stands that no host is registered for: what an earlier registration left is told."""
    ours = sum(unpack(entry.cookie) is not None for entry in calls.dump_flows(link))
    return Agreement("unregistered", kept=ours)


def _cached(present: list[PresentEntry]) -> list[Found]:
    found = []
    for entry in present:
        cookie = unpack(entry.cookie)
        if cookie is None or cookie.entry_class not in CACHED:
            continue
        match = key_of_match(entry.match)
        if match is not None:
            found.append(Found(entry.cookie, *match[:4], entry.idle_timeout_s))
    return found

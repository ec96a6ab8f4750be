"""Policy changes as transactions: kept, in force, and confirmed by every switch concerned; or undone everywhere."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from ryu.lib import hub

from ryu_apps.control.change import PolicyChange, Revisions, adopt, bundles, plan_change, revise_flows, settle
from ryu_apps.control.core import ControlCore
from ryu_apps.control.effects import SwitchChange
from ryu_apps.model.errors import NotConfirmed, SwitchAway, VfswitchError
from ryu_apps.model.policy import Change, Snapshot
from ryu_apps.pipeline.cached import CachedEntry, compile_cached
from ryu_apps.pipeline.entry import FlowEntry
from ryu_apps.pipeline.show import show
from ryu_apps.southbound import calls, nic_watch
from ryu_apps.southbound.bringup import BringUp
from ryu_apps.southbound.links import Links

LOG = logging.getLogger("vfswitch")

# Open vSwitch confirms a change of its tables before its datapath has followed; it gathers changes for about 5 ms.
# Where live connections are concerned the answer waits for that, so that it is true for the next packet.
SETTLE_S: Final = 0.02


class Keeper(Protocol):
    """Where acknowledged changes are kept."""

    def keep(self, changes: Sequence[Change], before: Snapshot) -> None:
        """Return when the changes are durable."""


class Transactions:
    """Carries planned changes through to the store and the switches; callers hold the lock of policy changes."""

    def __init__(
        self, core: ControlCore, keeper: Keeper, links: Links, bringup: BringUp, clock: Callable[[], float]
    ) -> None:
        """Keep what is shared."""
        self._core = core
        self._keeper = keeper
        self._links = links
        self._bringup = bringup
        self._clock = clock
        self._owed: tuple[Sequence[Change], Snapshot] | None = None

    def keep_owed(self) -> None:
        """Keep what undoing a change put back; when the store cannot take it, no other change is accepted."""
        if self._owed is not None:
            # What the store writes is the difference to what it holds: the refused change, not what is in force now.
            self._keeper.keep(*self._owed)
            self._owed = None

    def preview(self, plan: PolicyChange) -> tuple[str, ...]:
        """Return what each switch would lose and gain by a change, a line an entry; nothing is changed."""
        switches = [*plan.base, *nic_watch.foresee(self._core, self._links, plan, self._clock)]
        for piece in plan.pieces():
            switches += revise_flows(self._core, plan, piece).switches
            hub.sleep(0)
        return _difference(plan.after.snapshot, switches)

    def carry_out(self, plan: PolicyChange) -> None:
        """Keep a change, put it in force and have the switches confirm it; undo it everywhere when one does not.

        Raises what the store, or the first switch that fails, has raised.
        """
        self._keeper.keep(plan.changes, plan.before.snapshot)
        try:
            self._install(plan)
        except VfswitchError as error:
            LOG.warning("change refused and undone: %s", error.message)
            self._undo(plan)
            raise

    def _install(self, plan: PolicyChange) -> None:
        """Put a change in force and have the switches confirm it."""
        core, switches, waits = self._core, list(plan.base), False
        core.policy = plan.after
        switches += nic_watch.fit(core, self._links, plan, self._clock)
        for piece in plan.pieces():
            revisions = revise_flows(core, plan, piece)
            self._links.apply(adopt(core, plan, revisions))
            for change in bundles([*switches, *revisions.switches]):
                self._commit(change)
            self._links.apply(settle(core, plan, revisions, self._clock()))
            self._forget_vanished(revisions)
            waits = waits or bool(switches or revisions.switches)
            switches = []
            if piece:
                hub.sleep(0)
        self._greet_new_hosts(plan)
        core.nic_caches.tidy()
        if waits:
            hub.sleep(SETTLE_S)

    def _commit(self, change: SwitchChange) -> None:
        link = self._links.get(change.dpid)
        if link is None:
            raise SwitchAway(f"datapath {change.dpid:016x} went away; the change was undone")
        try:
            calls.commit(link, change)
        except NotConfirmed:
            self._bringup.give_up(link)  # Undoing the change must not wait for it too.
            raise
        self._core.tally.installed(change.added)

    def _forget_vanished(self, revisions: Revisions) -> None:
        """Take back entries of connections that ended while the change was under way."""
        for revision in revisions.changed:
            if revision.new is not None and self._core.flows.get(revision.new.id) is None:
                self._links.apply(self._core.placement.take_back(revision.new))

    def _greet_new_hosts(self, plan: PolicyChange) -> None:
        """Bring datapaths to agree that were connected before their host was registered."""
        new = plan.after.snapshot.dpids() - plan.before.snapshot.dpids()
        for link in self._links.all():
            if link.id in new and link.id not in self._core.datapaths:
                self._bringup.greet(link)

    def _undo(self, plan: PolicyChange) -> None:
        """Put the inverse change in force, keep it, and bring every switch to agree."""
        core = self._core
        inverse = [
            Change(kind=change.kind, key=change.key, value=plan.before.snapshot.get(change.kind, change.key))
            for change in reversed(plan.changes)
        ]
        self._owed = inverse, core.policy.snapshot
        with contextlib.suppress(VfswitchError):
            self.keep_owed()
        undoing = plan_change(core, core.policy.snapshot.changed(inverse), inverse)
        core.policy = undoing.after
        core.offload.shrink(self._clock())
        for piece in undoing.pieces():
            revisions = revise_flows(core, undoing, piece)
            self._links.apply(adopt(core, undoing, revisions))
            self._links.apply(settle(core, undoing, revisions, self._clock()))
            hub.sleep(0)
        for link in self._links.all():
            if link.id in core.datapaths:
                self._bringup.again(link)


def _difference(after: Snapshot, switches: Iterable[SwitchChange]) -> tuple[str, ...]:
    """Return what each switch would lose and gain, a line an entry."""
    hosts = {
        dpid: host.id if dpid == host.dpid else f"{host.id}/{dpid:x}"
        for host in after.hosts.values()
        for dpid in host.dpids
    }
    lines = []
    for switch in switches:
        name = hosts.get(switch.dpid, f"{switch.dpid:016x}")
        for sign, entries in (("-", switch.removed), ("+", switch.added)):
            for made in entries:
                entry = compile_cached(made) if isinstance(made, CachedEntry) else made
                if isinstance(entry, FlowEntry):  # Entries known only from a switch come up in reconciling alone.
                    lines.append(f"{sign} {name} {show(entry)}")
    return tuple(dict.fromkeys(lines))

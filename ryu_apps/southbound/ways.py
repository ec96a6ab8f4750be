"""Links of cables and sub-interfaces that go down and come up, and the switches that follow."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from ryu.lib import hub

from ryu_apps.control.core import ControlCore
from ryu_apps.control.effects import SwitchChange
from ryu_apps.control.ways import follow_ways, ports_on_ways
from ryu_apps.model.errors import VfswitchError
from ryu_apps.southbound import calls
from ryu_apps.southbound.link import Link
from ryu_apps.southbound.links import Links

LOG = logging.getLogger("vfswitch")


class Ways:
    """Keeps the policy in force true to which ways are broken; a datapath that is away is as it was last heard of."""

    def __init__(self, core: ControlCore, lock: hub.BoundedSemaphore, links: Links) -> None:
        """Keep what is shared; the lock is the one that policy changes take."""
        self._core = core
        self._lock = lock
        self._links = links
        self._down: dict[int, frozenset[str]] = {}

    @property
    def down(self) -> Mapping[int, frozenset[str]]:
        """By datapath, the ports on ways that are down or not there, as last heard of."""
        return self._down

    def concern(self, link: Link) -> bool:
        """Return whether ways lead through a datapath."""
        return bool(ports_on_ways(self._core.policy.snapshot, link.id))

    def follow(self) -> None:
        """Bring the switches to agree with the links as they are now, once for all changes that come together."""
        with self._lock:
            self.settle()

    def settle(self) -> None:
        """Do the same for a caller who holds the lock; a switch that refuses is connected anew."""
        for link in self._links.all():
            named = ports_on_ways(self._core.policy.snapshot, link.id)
            self._down[link.id] = frozenset(named & link.down_ports() | named - link.known_ports().keys())
        turn = follow_ways(self._core, self._down)
        for line in turn.news:
            LOG.warning("%s", line)
        for change in turn.switches:
            self._commit(change)

    def _commit(self, change: SwitchChange) -> None:
        link = self._links.get(change.dpid)
        if link is None:
            return
        try:
            calls.commit(link, change)
            self._core.tally.installed(change.added)
        except VfswitchError as error:
            LOG.warning("%s; it does not agree and is reconnected", error.message)
            link.close()

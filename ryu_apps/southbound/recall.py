"""What the switches tell a controller that starts again of instances that had failed before."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from ryu_apps.control.core import ControlCore
from ryu_apps.control.events import PresentEntry
from ryu_apps.control.probes import Name
from ryu_apps.control.ways import take_for_failed
from ryu_apps.model.hairpin import Hairpin
from ryu_apps.model.network import Host
from ryu_apps.pipeline.probing import said_to_have_failed, targets
from ryu_apps.southbound.cached_match import fields_of
from ryu_apps.southbound.link import Link

LOG = logging.getLogger("vfswitch")


class Recall:
    """Which datapaths have told who had failed; before it has, a datapath with instances counts as not connected.

    So no change waits for its answer, and none of its entries changes.
    """

    def __init__(self, core: ControlCore) -> None:
        """Keep what is shared."""
        self._core = core
        self._told: set[int] = set()

    def owed(self, dpid: int) -> bool:
        """Return whether the entries of a datapath must be read before any of them changes."""
        return dpid not in self._told and any(True for _ in self._hosts(dpid))

    def take(self, link: Link, present: Sequence[PresentEntry]) -> None:
        """Put in force what the entries of a datapath say, once for each datapath; the caller holds the lock."""
        if link.id in self._told:
            return
        self._told.add(link.id)
        for host in self._hosts(link.id):
            for line in take_for_failed(self._core, frozenset(self._failed(host, link, present))):
                LOG.warning("%s", line)

    def _hosts(self, dpid: int) -> Iterator[Host]:
        """Yield the host whose instances are at a datapath."""
        for host in self._core.policy.snapshot.hosts.values():
            if isinstance(host.hairpin, Hairpin) and host.hairpin.function_port.dpid == dpid:
                yield host

    def _failed(self, host: Host, link: Link, present: Sequence[PresentEntry]) -> Iterator[Name]:
        """Yield the instances on a host that its entries say have failed."""
        said = [fields_of(entry.match) or {} for entry in present if said_to_have_failed(entry.cookie)]
        outsides = {fields.get("in_port") for fields in said}
        for target in targets(self._core.policy, host, link.known_ports()):
            if target.outside in outsides:
                yield target.function, target.instance

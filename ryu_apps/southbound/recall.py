"""What the switches tell a controller that starts again of instances that had failed before."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from ryu_apps.control.core import ControlCore
from ryu_apps.control.events import PresentEntry
from ryu_apps.control.probes import Name
from ryu_apps.control.ways import take_for_failed
from ryu_apps.model.errors import VfswitchError
from ryu_apps.model.hairpin import Hairpin
from ryu_apps.model.network import Host
from ryu_apps.pipeline.cookie import CLASS_MASK, MARK_MASK, Cookie, EntryClass
from ryu_apps.pipeline.probing import said_to_have_failed, targets
from ryu_apps.southbound.cached_match import fields_of
from ryu_apps.southbound.links import Links

LOG = logging.getLogger("vfswitch")

_ANSWER_S: Final = 5.0
_CAUGHT: Final = Cookie(EntryClass.PROBE).pack()


class Recall:
    """Reads once from each datapath with instances which of them had failed; before, none of its entries changes."""

    def __init__(self, core: ControlCore, links: Links) -> None:
        """Keep what is shared."""
        self._core = core
        self._links = links
        self._read: set[int] = set()

    def read(self) -> None:
        """Put in force what datapaths tell that have not been asked yet; the caller holds the lock."""
        for host in self._core.policy.snapshot.hosts.values():
            dpid = host.hairpin.function_port.dpid if isinstance(host.hairpin, Hairpin) else None
            link = None if dpid is None or dpid in self._read else self._links.get(dpid)
            if link is None:
                continue
            try:
                present = link.dump_flows(
                    table="splice", cookie=_CAUGHT, cookie_mask=MARK_MASK | CLASS_MASK, timeout_s=_ANSWER_S
                )
            except VfswitchError as error:
                LOG.warning("datapath %016x: %s", link.id, error.message)
                continue
            self._read.add(link.id)
            for line in take_for_failed(self._core, frozenset(self._failed(host, link.known_ports(), present))):
                LOG.warning("%s", line)

    def _failed(self, host: Host, ports: Mapping[str, int], present: Iterable[PresentEntry]) -> Iterator[Name]:
        """Yield the instances on a host that its entries say have failed."""
        said = [fields_of(entry.match) or {} for entry in present if said_to_have_failed(entry.cookie)]
        outsides = {fields.get("in_port") for fields in said}
        for target in targets(self._core.policy, host, ports):
            if target.outside in outsides:
                yield target.function, target.instance

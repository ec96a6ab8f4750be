"""The instances of functions at work: probed, and the connections that go through them counted when somebody asks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from eventlet.semaphore import Semaphore

from ryu_apps.control.core import ControlCore
from ryu_apps.control.draining import refuse_live
from ryu_apps.control.health import chain_health, health_of
from ryu_apps.model.chain import Chain, Function, Instance
from ryu_apps.model.errors import VfswitchError
from ryu_apps.model.hairpin import Hairpin
from ryu_apps.model.policy import Change, Snapshot
from ryu_apps.pipeline.cookie import CLASS_MASK, MARK_MASK, Cookie, EntryClass
from ryu_apps.southbound import calls
from ryu_apps.southbound.links import Links
from ryu_apps.southbound.passages import Passages
from ryu_apps.southbound.ways import Ways

LOG = logging.getLogger("vfswitch")

COUNTED_S: Final = 1.0
"""For how long what a switch has written down is not asked for again."""

_LEARNED: Final = Cookie(EntryClass.LEARNED).pack()
_ANSWER_S: Final = 5.0


class Functions:
    """What REST asks of functions and chains."""

    def __init__(self, core: ControlCore, links: Links, ways: Ways, clock: Callable[[], float]) -> None:
        """Keep what is shared."""
        self._core = core
        self._links = links
        self._ways = ways
        self._clock = clock
        self._turn = Semaphore(1)
        self._counts: dict[int, tuple[float, Passages | None]] = {}

    def health(self, function: Function) -> Mapping[str, Any]:
        """Return what is known of the instances of a function."""
        return health_of(self._core, function, self._ways.down, lambda one: self._connections(one, COUNTED_S))

    def chain_health(self, chain: Chain) -> Mapping[str, Any]:
        """Return what becomes of frames at the hops of a chain."""
        return chain_health(self._core.policy, chain)

    def refuse_live(self, before: Snapshot, changes: Iterable[Change]) -> None:
        """Raise Conflict when changes that are not forced take away what connections go through."""
        refuse_live(before, changes, self._live)

    def _live(self, one: Instance | Chain) -> int | None:
        return self._along(one) if isinstance(one, Chain) else self._connections(one, 0.0)

    def _along(self, chain: Chain) -> int | None:
        """Return how many connections go through a chain on all hosts, None where no switch can say."""
        snapshot = self._core.policy.snapshot
        number = snapshot.segments[chain.segment].number
        found = []
        for host in snapshot.hosts.values():
            dpid = host.hairpin.function_port.dpid if isinstance(host.hairpin, Hairpin) else None
            counts = None if dpid is None else self._counted(dpid, 0.0)
            if counts is not None:
                ports = self._core.datapaths.get(host.function_dpid, {})
                hops = [[ports.get(one.inside, 0) for one in snapshot.functions[hop].on(host.id)] for hop in chain.hops]
                found.append(counts.along(number, chain.mark, hops))
        return sum(found) if found else None

    def _connections(self, one: Instance, max_age_s: float) -> int | None:
        """Return how many connections have an instance, None where its switch cannot say."""
        host = self._core.policy.snapshot.hosts.get(one.host)
        if host is None or not isinstance(host.hairpin, Hairpin):
            return None
        dpid = host.hairpin.function_port.dpid
        port_no = self._core.datapaths.get(dpid, {}).get(one.inside)
        counts = self._counted(dpid, max_age_s) if port_no is not None else None
        return None if counts is None else counts.into(port_no or 0)

    def _counted(self, dpid: int, max_age_s: float) -> Passages | None:
        """Return where connections go on a datapath; all who wait for the same answer share it."""
        wanted_s = self._clock() - max_age_s
        with self._turn:
            known = self._counts.get(dpid)
            if known is None or known[0] < wanted_s:
                asked_s = self._clock()
                known = self._counts[dpid] = asked_s, self._ask(dpid)
            return known[1]

    def _ask(self, dpid: int) -> Passages | None:
        link = self._links.get(dpid)
        if link is None:
            return None
        mask = MARK_MASK | CLASS_MASK
        try:
            present = calls.dump_flows(link, table="assigned", cookie=_LEARNED, cookie_mask=mask, timeout_s=_ANSWER_S)
        except VfswitchError as error:
            LOG.warning("%s", error.message)
            return None
        return Passages(present)

"""NICs whose tables have limits: what they count is read once a second, and a new limit is kept at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import groupby
from operator import attrgetter

from ryu.lib import hub

from ryu_apps.control import recounting
from ryu_apps.control.change import PolicyChange
from ryu_apps.control.core import ControlCore
from ryu_apps.control.effects import CountCache, SwitchChange
from ryu_apps.control.events import CacheCounted, PresentEntry
from ryu_apps.pipeline.cookie import MARK, MARK_MASK
from ryu_apps.southbound import calls
from ryu_apps.southbound.abreast import Abreast
from ryu_apps.southbound.link import Link
from ryu_apps.southbound.links import Links

POLL_S = 1.0
# Between two slices of one table, so that misses are answered in between.
_PAUSE_S = 0.01


def watch(core: ControlCore, links: Links, clock: Callable[[], float]) -> None:
    """Tell the core for ever what the entries of limited caches have counted; one that has no limit is not asked."""
    what = "counting the entries of a NIC"
    looks = Abreast(links, what)
    while True:
        hub.sleep(POLL_S)
        try:
            for dpid, questions in groupby(sorted(core.nic_caches.questions()), attrgetter("dpid")):
                link = links.get(dpid)
                if link is not None:
                    looks.look(link, partial(_ask, core, clock, tuple(questions)))
        except Exception:
            links.fault(what)


def _ask(core: ControlCore, clock: Callable[[], float], questions: Iterable[CountCache], link: Link) -> None:
    for dpid, table, cookie, cookie_mask in questions:
        present = calls.dump_flows(link, table=table, cookie=cookie, cookie_mask=cookie_mask)
        counts = tuple((entry.cookie, entry.packets) for entry in present)
        core.nic_caches.counted(CacheCounted(dpid, table, counts), clock())
        hub.sleep(_PAUSE_S)


def fit(core: ControlCore, links: Links, plan: PolicyChange, clock: Callable[[], float]) -> list[SwitchChange]:
    """Return what the switches must lose under the limits of a policy that was just put in force.

    A cache that had no limit was not counted: its switch is asked what it has.
    """
    switches = [SwitchChange(dpid=dpid, removed=(made,)) for dpid, made in core.offload.shrink(clock())]
    for dpid, link in _newly_limited(core, links, plan):
        removed = core.offload.recount(dpid, _present(link), clock())
        switches.append(SwitchChange(dpid=dpid, removed=removed))
    return switches


def foresee(core: ControlCore, links: Links, plan: PolicyChange, clock: Callable[[], float]) -> list[SwitchChange]:
    """Return what the switches would lose under the limits of a policy that is not put in force."""
    present = {dpid: _present(link) for dpid, link in _newly_limited(core, links, plan)}
    lost = recounting.foresee(core.flows, core.nic_caches.by_place, plan.after, present, clock())
    return [SwitchChange(dpid=dpid, removed=(made,)) for dpid, made in lost]


def _newly_limited(core: ControlCore, links: Links, plan: PolicyChange) -> Iterator[tuple[int, Link]]:
    """Yield the datapaths that are up and of which a cache gets a limit that had none."""
    before = {host.dpid: host.limits for host in plan.before.snapshot.hosts.values()}
    for host in plan.after.snapshot.hosts.values():
        old, new, link = before.get(host.dpid), host.limits, links.get(host.dpid)
        if old is None or link is None or host.dpid not in core.datapaths:
            continue
        rooms = (old.outbound_entries, new.outbound_entries), (old.inbound_entries, new.inbound_entries)
        if any(was is None and now is not None for was, now in rooms):
            yield host.dpid, link


def _present(link: Link) -> list[PresentEntry]:
    return calls.dump_flows(link, cookie=MARK << 56, cookie_mask=MARK_MASK)

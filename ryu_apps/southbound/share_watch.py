"""Bottlenecks that several priorities share: their meters are read several times a second, and set anew."""

from __future__ import annotations

from functools import partial
from typing import Final

from ryu.lib import hub

from ryu_apps.control.core import ControlCore
from ryu_apps.southbound import calls, meters
from ryu_apps.southbound.abreast import Abreast
from ryu_apps.southbound.link import Link
from ryu_apps.southbound.links import Links

POLL_S: Final = 0.2


def watch(core: ControlCore, links: Links) -> None:
    """Keep the shares of priorities for ever; a switch without a shared bottleneck is not asked."""
    looks = Abreast(links, "sharing between priorities")
    while True:
        hub.sleep(POLL_S)
        try:
            for dpid in tuple(core.sharing.datapaths()):
                link = links.get(dpid)
                if link is not None and dpid in core.datapaths:
                    looks.look(link, partial(_share, core))
        except Exception:
            links.fault("sharing between priorities")


def _share(core: ControlCore, link: Link) -> None:
    policy = core.policy
    # Connections may have thousands of meters.
    numbers = core.sharing.followed(link.id) if len(core.flows.meters) else (meters.ALL,)
    counts, present = calls.count_meters(link, numbers=numbers), calls.dump_meters(link, numbers=numbers)
    # A change of policy that came meanwhile has set the meters itself; they are looked at again next time.
    if policy is core.policy:
        meters.commit(link, core.sharing.counted(link.id, counts, present), timeout_s=5.0)

"""Bottlenecks that several priorities share: their meters are read several times a second, and set anew."""

from __future__ import annotations

import logging
from typing import Final

from ryu.lib import hub

from ryu_apps.control.core import ControlCore
from ryu_apps.model.errors import VfswitchError
from ryu_apps.southbound import meters
from ryu_apps.southbound.link import Link
from ryu_apps.southbound.links import Links

LOG = logging.getLogger("vfswitch")

POLL_S: Final = 0.2


def watch(core: ControlCore, links: Links) -> None:
    """Keep the shares of priorities for ever; a switch without a shared bottleneck is not asked."""
    while True:
        hub.sleep(POLL_S)
        try:
            for dpid in tuple(core.sharing.datapaths()):
                link = links.get(dpid)
                if link is not None and dpid in core.datapaths:
                    _share(core, link)
        except Exception:
            links.fault("sharing between priorities")


def _share(core: ControlCore, link: Link) -> None:
    policy = core.policy
    try:
        # Connections may have thousands of meters.
        numbers = core.sharing.followed(link.id) if len(core.flows.meters) else (meters.ALL,)
        counts, present = link.count_meters(numbers=numbers), link.dump_meters(numbers=numbers)
        # A change of policy that came meanwhile has set the meters itself; they are looked at again next time.
        if policy is core.policy:
            meters.commit(link, core.sharing.counted(link.id, counts, present), timeout_s=5.0)
    except VfswitchError as error:
        LOG.warning("datapath %016x: %s", link.id, error.message)

"""Looking at datapaths side by side, so that one that is silent keeps no other waiting."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ryu.lib import hub

from ryu_apps.model.errors import VfswitchError
from ryu_apps.southbound.link import Link
from ryu_apps.southbound.links import Links

LOG = logging.getLogger("vfswitch")


class Abreast:
    """Looks at each datapath by a green thread of its own; at most one look at a datapath is under way."""

    def __init__(self, links: Links, what: str) -> None:
        """Keep what is shared; `what` names the looks where a fault is told."""
        self._links = links
        self._what = what
        self._under_way: set[int] = set()

    def look(self, link: Link, look: Callable[[Link], None]) -> None:
        """Begin a look, unless the last one at this datapath has not ended; does not wait."""
        if link.id not in self._under_way:
            self._under_way.add(link.id)
            hub.spawn(self._run, link, look)

    def _run(self, link: Link, look: Callable[[Link], None]) -> None:
        try:
            look(link)
        except VfswitchError as error:
            LOG.warning("%s", error.message)
        except Exception:
            self._links.fault(self._what)
        finally:
            self._under_way.discard(link.id)

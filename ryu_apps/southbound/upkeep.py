"""What connections need when time passes: closed ones leave the switch, and crowded vports are looked at."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from ryu.lib import hub

from ryu_apps.control.core import ControlCore
from ryu_apps.model.errors import VfswitchError
from ryu_apps.pipeline.cookie import CLASS_MASK, DETAIL_MASK, MARK_MASK, VPORT_MASK, Cookie, EntryClass, unpack
from ryu_apps.southbound.links import Links

LOG = logging.getLogger("vfswitch")

# How often closed connections are taken off the switch, and a crowded vport is looked at.
CLOSE_EVERY_S: Final = 0.05
LOOK_EVERY_S: Final = 0.25
# Flow ids rise, so the half-open ones stand in few blocks of this many ids; a mask asks for one block.
_BLOCK: Final = 1 << 12
_MOST_BLOCKS: Final = 4


class Upkeep:
    """Two green threads that run only while there is something to do."""

    def __init__(self, core: ControlCore, links: Links, clock: Callable[[], float]) -> None:
        self._core = core
        self._links = links
        self._clock = clock
        self._closing = False
        self._looking = False

    def wake(self) -> None:
        """Begin to work if there is something to do and nobody does it; does not wait."""
        life = self._core.life
        if life.busy and not self._closing:
            self._closing = True
            hub.spawn(self._close)
        if life.crowded and not self._looking:
            self._looking = True
            hub.spawn(self._look)

    def _close(self) -> None:
        try:
            while self._core.life.busy:
                hub.sleep(CLOSE_EVERY_S)
                while self._core.life.overdue(now_s := self._clock()):
                    self._links.apply(self._core.ageing.close_due(now_s))
                    hub.sleep(0)
        except Exception:
            self._links.fault("closing connections")
        finally:
            self._closing = False

    def _look(self) -> None:
        try:
            while self._core.life.crowded:
                for vport in tuple(self._core.life.crowded):
                    self._count_answers(vport)
                hub.sleep(LOOK_EVERY_S)
        except Exception:
            self._links.fault("looking for answers")
        finally:
            self._looking = False

    def _count_answers(self, vport: int) -> None:
        """Take a vport's connections off its half-open ones when the entry of their replies has counted a packet."""
        life = self._core.life
        dpid = self._core.dpid_of(vport)
        link = self._links.get(dpid) if dpid is not None else None
        if link is None:
            return
        blocks = {flow_id // _BLOCK for flow_id in life.half_open_at(vport)}
        mask = MARK_MASK | CLASS_MASK | VPORT_MASK
        if len(blocks) > _MOST_BLOCKS:
            blocks = {0}
        else:
            mask |= DETAIL_MASK & ~(_BLOCK - 1)
        for block in sorted(blocks):
            cookie = Cookie(EntryClass.REPLY, vport=vport, detail=block * _BLOCK).pack()
            try:
                found = link.dump_flows(cookie=cookie, cookie_mask=mask)
            except VfswitchError as error:
                LOG.warning("datapath %016x: %s", dpid, error.message)
                return
            for entry in found:
                seen = unpack(entry.cookie) if entry.packets else None
                if seen is not None:
                    life.answered(seen.detail)

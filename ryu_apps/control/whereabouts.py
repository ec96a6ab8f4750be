"""Who handles the packets of a connection at one place on their way, the NIC or the host, and why."""

from __future__ import annotations

from typing import NamedTuple

from ryu_apps.control.core import ControlCore
from ryu_apps.control.course import Reason
from ryu_apps.control.holding import Held
from ryu_apps.control.unified_flow import UnifiedFlow
from ryu_apps.engine.connection import Leg


class Whereabouts(NamedTuple):
    """Whether a NIC handles the packets of a leg, and why; lacks names the action that it does not support."""

    nic: bool
    reason: Reason
    lacks: str | None = None


def whereabouts_of(core: ControlCore, flow: UnifiedFlow, leg: Leg) -> Whereabouts:
    """Return who handles the packets of a flow's leg, and why."""
    if core.ageing.in_host(flow):
        return Whereabouts(False, Reason.FRAGMENTS)
    course = core.nic_caches.course(flow)
    if course.kept is not None:
        return Whereabouts(False, course.kept, course.lacks)
    if core.dpid_of(leg.vport) is None:
        return Whereabouts(False, Reason.AWAY)
    if not core.nic_caches.lets_in(flow, leg.vport, leg.direction):
        return Whereabouts(False, Reason.FULL)
    if Held(flow.id, leg.vport, leg.direction) in core.holding:
        return Whereabouts(False, Reason.HELD_BACK)
    return Whereabouts(True, Reason.RULE if course.demanded else Reason.AUTO)

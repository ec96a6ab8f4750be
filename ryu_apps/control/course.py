"""Whether a connection may be offloaded, whatever the room in the NICs: what its rules wish and its NICs support."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Final, NamedTuple

from ryu_apps.engine.connection import Leg, Plan
from ryu_apps.engine.policy import Policy
from ryu_apps.model.nic_limits import UNLIMITED, NicLimits
from ryu_apps.model.rules import Offload
from ryu_apps.model.treatment import Metered
from ryu_apps.pipeline.meters import meters_within


class Reason(Enum):
    """Why the packets of a leg are handled where they are."""

    AUTO = "auto"
    RULE = "rule"
    UNSUPPORTED = "action-unsupported"
    NO_METER = "no-meter"
    FULL = "nic-full"
    HELD_BACK = "first-packets"
    FRAGMENTS = "fragments"
    AWAY = "host-away"


class Course(NamedTuple):
    """Why a connection stays with the host (None: it need not), whether a rule demands the NIC, and what that lacks."""

    kept: Reason | None = None
    demanded: bool = False
    lacks: str | None = None


_AS_IT_COMES: Final = Course()
_OFF: Final = Course(Reason.RULE)


def course_of(policy: Policy, plans: Iterable[Plan]) -> Course:
    """Return the course of a connection with these plans: its own, and that of the connection it is a variant of.

    It is one for all legs, so that a connection that one rule keeps in the host is there as a whole.
    A rule's `off` goes before another's `on`.
    """
    course = _AS_IT_COMES
    for plan in plans:
        for leg in (*plan.forward, *plan.reply):
            verdict = leg.verdict
            if verdict.offload is Offload.AUTO and not verdict.needs:
                continue
            if verdict.offload is Offload.OFF:
                return _OFF
            lacks = limits_at(policy, leg.vport).lacks(verdict.needs) or course.lacks
            demanded = course.demanded or verdict.offload is Offload.ON
            kept = Reason.UNSUPPORTED if lacks else course.kept or _without_meter(policy, leg)
            course = Course(kept, demanded, lacks)
    return course


def _without_meter(policy: Policy, leg: Leg) -> Reason | None:
    """Return the reason when a leg passes a meter for which its NIC has none left."""
    most, treatment = limits_at(policy, leg.vport).meters, leg.verdict.treatment
    if most is None or treatment is None:
        return None
    had = meters_within(policy, policy.vports[leg.vport].host, most)
    wanted = (step.meter for step in treatment.steps if isinstance(step, Metered))
    return None if had.issuperset(wanted) else Reason.NO_METER


def limits_at(policy: Policy, vport: int) -> NicLimits:
    """Return the limits of the NIC that a vport is on, by the vport's number."""
    found = policy.vports.get(vport)
    return UNLIMITED if found is None else policy.snapshot.hosts[found.host].limits

"""Meters that each connection has for itself: which a treatment needs, and the treatment with the connection's own."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from ryu_apps.engine.meter_id import connection_meter_id
from ryu_apps.model.action import Meter
from ryu_apps.model.treatment import Metered, Step, Treatment


class OwnMeter(NamedTuple):
    """A meter that a rule, known by the number of its shared one, gives to each connection."""

    rule_meter: int
    config: Meter


def own_meters(treatment: Treatment | None) -> tuple[OwnMeter, ...]:
    """Return the meters that connections with this treatment have for themselves, in the order in which they pass."""
    if treatment is None:
        return ()
    return tuple(
        OwnMeter(step.meter, step.each)
        for step in treatment.steps
        if isinstance(step, Metered) and step.each is not None
    )


def of_connection(treatment: Treatment | None, connection: int) -> Treatment | None:
    """Return the treatment of one connection's packets, by flow id: its own meters in the place of the rule's."""
    if treatment is None or not own_meters(treatment):
        return treatment
    return replace(treatment, steps=tuple(_own(step, connection) for step in treatment.steps))


def _own(step: Step, connection: int) -> Step:
    if isinstance(step, Metered) and step.each is not None:
        return Metered(connection_meter_id(connection, step.meter))
    return step

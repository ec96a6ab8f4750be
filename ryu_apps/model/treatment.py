"""The treatment: what all layers together do with a packet beside the edit of its headers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from ryu_apps.model.action import Meter
from ryu_apps.model.transposition import Transposition


class Metered(NamedTuple):
    """The packet passes a meter, which may drop it.

    each: what the meter of each connection is where it has one of its own; packets of no connection pass `meter` then.
    """

    meter: int
    each: Meter | None = None


class Copied(NamedTuple):
    """A copy goes to a vport (by number), as the packet stands after this edit of what came in."""

    vport: int
    edit: Transposition


class ToVport(NamedTuple):
    """Delivery to a vport (by number), whatever the destination MAC says."""

    vport: int


class ToTunnel(NamedTuple):
    """Out by the tunnel port, to an endpoint given by IP version and address, with a VXLAN network identifier."""

    version: int
    address: int
    vni: int


@dataclass(frozen=True, slots=True)
class PastFunctions:
    """Delivery by MAC, on a host with a hairpin without its network functions."""


class ByChain(NamedTuple):
    """Delivery by MAC, through the functions of the chain with this mark in the sender's segment."""

    mark: int


Step = Metered | Copied
Exit = ToVport | ToTunnel | PastFunctions | ByChain


@dataclass(frozen=True, slots=True, kw_only=True)
class Treatment:
    """What befalls a packet on its way, in order, and how it goes on; exit None is delivery by MAC.

    priority is the one that rules give it, None for that of the vport that sent it.
    A packet that is denied has been through the steps of the layers before, and has no exit and no priority.
    """

    steps: tuple[Step, ...] = ()
    exit: Exit | None = None
    priority: int | None = None

    def behind(self, edit: Transposition) -> Treatment:
        """Return the treatment of a packet that was edited before it came to this one."""
        if not edit.edits:
            return self
        return replace(self, steps=tuple(_behind(step, edit) for step in self.steps))

    def then(self, later: Treatment) -> Treatment:
        """Return the one treatment that equals this one followed by the later one; the last exit and priority hold.

        Law: treating and editing layer by layer equals `a.then(b.behind(edit of a))` and the composed edit.
        """
        priority = self.priority if later.priority is None else later.priority
        return Treatment(steps=self.steps + later.steps, exit=later.exit or self.exit, priority=priority)

    def names(self, vport: int) -> bool:
        """Return whether a vport gets a copy or the packet itself."""
        copied = any(isinstance(step, Copied) and step.vport == vport for step in self.steps)
        return copied or self.exit == ToVport(vport)

    def refused(self) -> Treatment | None:
        """Return what is left of it for a packet that a later layer denies, None for nothing.

        A meter that no other packet passes matters only to the copies behind it.
        """
        copies = [place for place, step in enumerate(self.steps) if isinstance(step, Copied)]
        last = copies[-1] if copies else -1
        steps = tuple(step for place, step in enumerate(self.steps) if place <= last or not _is_own(step))
        return Treatment(steps=steps) if steps else None


def _is_own(step: Step) -> bool:
    return isinstance(step, Metered) and step.each is not None


def _behind(step: Step, edit: Transposition) -> Step:
    return step._replace(edit=edit.then(step.edit)) if isinstance(step, Copied) else step

"""A connection: the verdicts at every vport it passes, for the first packet and for its replies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ryu_apps.engine.policy import Policy
from ryu_apps.engine.ruling import Verdict
from ryu_apps.engine.walk import walk, walk_reply
from ryu_apps.model.fields import FIELDS
from ryu_apps.model.flow_key import FlowKey, reverse
from ryu_apps.model.network import Vport
from ryu_apps.model.rules import Direction


class Leg(NamedTuple):
    """One vport's verdict on one direction of a connection; it becomes one flow entry there.

    exact_dscp: the entry carries DSCP, because a rule of the view looks at it.
    """

    vport: int
    direction: Direction
    verdict: Verdict
    exact_dscp: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What policy says of one connection: the legs of its packets in order, and those of its replies.

    Flows of one kind share one plan; keys are not part of it.
    """

    forward: tuple[Leg, ...]
    reply: tuple[Leg, ...]

    @property
    def edits(self) -> bool:
        """Return whether any leg edits packets, so that their keys differ from leg to leg."""
        return any(leg.verdict.edit.edits for leg in (*self.forward, *self.reply))

    @property
    def allow(self) -> bool:
        """Return whether every leg of the first packet allows it."""
        return all(leg.verdict.allow for leg in self.forward)

    def legs(self, key: FlowKey) -> Iterator[tuple[Leg, FlowKey]]:
        """Yield every leg with the key that packets have where it stands, for a connection begun with `key`."""
        for leg in self.forward:
            yield leg, key
            key = leg.verdict.edit.apply(key)
        key = reverse(key)
        for leg in self.reply:
            yield leg, key
            key = leg.verdict.edit.apply(key)


def connect(policy: Policy, segment: str, vport: Vport, direction: Direction, key: FlowKey) -> Plan:
    """Return the plan of a connection whose first packet was met at a vport.

    Met outbound, a receiving vport of ours is asked too; met inbound, the sender is outside.
    Order: the sender's layers, delivery by the edited MAC, the receiver's layers; replies the same way back.
    """
    forward: list[tuple[Leg, FlowKey]] = []
    last = _pass(policy, vport, direction, key, forward)
    if last is not None and direction is Direction.OUTBOUND:
        receiver = owner(policy, segment, last)
        if receiver is not None and receiver.number != vport.number:
            last = _pass(policy, receiver, Direction.INBOUND, last, forward)
    reply: list[Leg] = []
    if last is not None:
        back = reverse(last)
        for leg, seen in reversed(forward):
            answered = _answer(policy, leg, seen, back)
            reply.append(answered)
            if not answered.verdict.allow:
                break
            back = answered.verdict.edit.apply(back)
    return Plan(tuple(leg for leg, _ in forward), tuple(reply))


def owner(policy: Policy, segment: str, key: FlowKey) -> Vport | None:
    """Return the vport that a unicast key's destination MAC belongs to, None when it is outside."""
    name = policy.directory.owner(segment, FIELDS["eth_dst"].get(key))
    return None if name is None else policy.snapshot.vports[name]


def _pass(
    policy: Policy, vport: Vport, direction: Direction, key: FlowKey, legs: list[tuple[Leg, FlowKey]]
) -> FlowKey | None:
    """Add one leg; return the key behind it, None when it denies."""
    view = policy.view(vport, direction)
    verdict = walk(view, key)
    legs.append((Leg(vport.number, direction, verdict, view.uses_dscp), key))
    return verdict.edit.apply(key) if verdict.allow else None


def opposite(direction: Direction) -> Direction:
    """Return the other direction."""
    return Direction.INBOUND if direction is Direction.OUTBOUND else Direction.OUTBOUND


def _answer(policy: Policy, leg: Leg, seen: FlowKey, back: FlowKey) -> Leg:
    direction = opposite(leg.direction)
    view = policy.view(policy.vports[leg.vport], direction)
    verdict = walk_reply(view, back, leg.verdict, seen)
    return Leg(leg.vport, direction, verdict, view.uses_dscp)

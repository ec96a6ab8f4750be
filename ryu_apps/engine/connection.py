"""A connection: the verdicts at every vport it passes, for the first packet and for its replies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from ryu_apps.engine.lending import Lend
from ryu_apps.engine.own_meters import own_meters
from ryu_apps.engine.policy import Policy
from ryu_apps.engine.ruling import Verdict
from ryu_apps.engine.view import MOST_REMEMBERED, past_functions
from ryu_apps.engine.walk import walk, walk_reply
from ryu_apps.model.flow_key import Family, FlowKey, reverse
from ryu_apps.model.nat_pool import Lease
from ryu_apps.model.network import Vport
from ryu_apps.model.rules import Direction
from ryu_apps.model.treatment import PastFunctions, ToTunnel, ToVport

_ETH_DST_SHIFT: Final = {
    Family.LINK: 80,
    Family.IPV4: 192,
    Family.IPV6: 384,
    Family.ARP: 192,
    Family.ND: 384,
}


class Leg(NamedTuple):
    """One vport's verdict on one direction of a connection; it becomes one flow entry there.

    exact_dscp: the entry carries DSCP, because a rule of the view looks at it.
    """

    vport: int
    direction: Direction
    verdict: Verdict
    exact_dscp: bool


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What policy says of one connection: the legs of its packets in order, and those of its replies.

    Flows of one kind share one plan object, which is compared by identity; keys are not part of it.
    allow: every leg of the first packet allows it.
    edits: some leg edits packets, so that their keys differ from leg to leg.
    treats: some leg does more with packets than edit and pass or drop them.
    leases: what such connections have of NAT pools: what the vport that began them shows.
    metered: some leg passes a meter that each connection has for itself.
    """

    forward: tuple[Leg, ...]
    reply: tuple[Leg, ...]
    allow: bool
    edits: bool
    treats: bool
    leases: tuple[Lease, ...] = ()
    metered: bool = False

    def legs(self, key: FlowKey) -> Iterator[tuple[Leg, FlowKey]]:
        """Yield every leg with the key that packets have where it stands, for a connection begun with `key`."""
        for leg in self.forward:
            yield leg, key
            key = leg.verdict.edit.apply(key)
        key = reverse(key)
        for leg in self.reply:
            yield leg, key
            key = leg.verdict.edit.apply(key)


def connect(
    policy: Policy, segment: str, vport: Vport, direction: Direction, key: FlowKey, lend: Lend | None = None
) -> Plan:
    """Return the plan of a connection whose first packet was met at a vport; lend gives it what it needs of NAT pools.

    It is remembered where every layer keeps state and none edits: then it depends only on where the packet is met and
    goes, and on the bits that rules look at.
    """
    family, bits = key
    course = segment, vport.number, direction, family, bits >> _ETH_DST_SHIFT[family]
    relevant = policy.relevant.get(course)
    if relevant is None:
        relevant = _relevant(policy, segment, vport, direction, key)
        _remember(policy.relevant, course, relevant)
    plan = policy.reached.get((course, bits & relevant))
    if plan is None:
        plan = connect_layers(policy, segment, vport, direction, key, lend)
        views = (policy.view(policy.vports[leg.vport], leg.direction) for leg in plan.forward)
        shared = not (plan.edits or plan.treats or any(leg.verdict.pooled for leg in plan.forward))
        if shared and all(view.stateful for view in views):
            _remember(policy.reached, (course, bits & relevant), plan)
    return plan


def looked_at(policy: Policy, segment: str, vport: Vport, direction: Direction, key: FlowKey) -> int | None:
    """Return the bits of a key that its plan depends on besides the destination; None when all may matter."""
    family, bits = key
    course = segment, vport.number, direction, family, bits >> _ETH_DST_SHIFT[family]
    relevant = policy.relevant.get(course)
    return relevant if relevant is not None and (course, bits & relevant) in policy.reached else None


def _remember(memory: dict[Any, Any], key: object, value: object) -> None:
    """Keep a value, and no more of them than a VM may fill memory with."""
    if len(memory) >= MOST_REMEMBERED:
        memory.clear()
    memory[key] = value


def _relevant(policy: Policy, segment: str, vport: Vport, direction: Direction, key: FlowKey) -> int:
    relevant = policy.view(vport, direction).relevant[key.family]
    receiver = owner(policy, segment, key) if direction is Direction.OUTBOUND else None
    return relevant | (policy.view(receiver, Direction.INBOUND).relevant[key.family] if receiver else 0)


def connect_layers(
    policy: Policy, segment: str, vport: Vport, direction: Direction, key: FlowKey, lend: Lend | None = None
) -> Plan:
    """Return the plan of a connection whose first packet was met at a vport, from the layers of every leg.

    Met outbound, a receiving vport of ours is asked too; met inbound, the sender is outside.
    Order: the sender's layers, delivery by the edited MAC, the receiver's layers; replies the same way back.
    """
    forward: list[tuple[Leg, FlowKey]] = []
    last = _pass(policy, vport, direction, key, forward, lend)
    if last is not None and direction is Direction.OUTBOUND:
        receiver = destination(policy, segment, forward[0][0], last)
        if receiver is not None and receiver.number != vport.number:
            last = _pass(policy, receiver, Direction.INBOUND, last, forward)
    reply: list[Leg] = []
    if last is not None:
        back = reverse(last)
        for leg, seen in reversed(forward):
            if reply and not leads_back(policy, segment, reply[-1], back, leg):
                break  # A rule or a route sends the reply elsewhere.
            answered = _answer(policy, leg, seen, back)
            if leg.direction is Direction.INBOUND and _skips(forward[0][0]):
                view = policy.view(policy.vports[leg.vport], answered.direction)
                answered = answered._replace(verdict=past_functions(view, answered.verdict))
            reply.append(answered)
            if not answered.verdict.allow:
                break
            back = answered.verdict.edit.apply(back)
    return plan_of(policy, tuple([leg for leg, _ in forward]), tuple(reply))


def _skips(sent: Leg) -> bool:
    """Return whether packets skip network functions behind their sender's leg."""
    treatment = sent.verdict.treatment
    return treatment is not None and treatment.exit == PastFunctions()


def plan_of(policy: Policy, forward: tuple[Leg, ...], reply: tuple[Leg, ...]) -> Plan:
    """Return the one plan object of a policy with these legs."""
    met = (*forward, None, *reply)
    known: Plan | None = policy.plans.get(met)
    if known is not None:
        return known
    legs = (*forward, *reply)
    edits = any(leg.verdict.edit.edits for leg in legs)
    treats = any(leg.verdict.treatment is not None for leg in legs)
    allow = all(leg.verdict.allow for leg in forward)
    metered = treats and any(own_meters(leg.verdict.treatment) for leg in legs)
    plan = Plan(forward, reply, allow, edits, treats, forward[0].verdict.leases, metered)
    # A translation back is the connection's own: such a plan is met once.
    if any(leg.verdict.translates for leg in forward):
        return plan
    _remember(policy.plans, met, plan)
    return plan


def owner(policy: Policy, segment: str, key: FlowKey) -> Vport | None:
    """Return the vport that a unicast key's destination MAC belongs to, None when it is outside."""
    return policy.directory.owner(segment, key.bits >> _ETH_DST_SHIFT[key.family])


def destination(policy: Policy, segment: str, sent: Leg, key: FlowKey) -> Vport | None:
    """Return the vport that a unicast packet goes to behind its sender's leg, None when it is outside.

    What leaves in a tunnel stays in its segment only under the segment's own VNI, and does not come back to this host.
    """
    treatment = sent.verdict.treatment
    match treatment.exit if treatment is not None else None:
        case ToVport(vport=number):
            return policy.vports.get(number)
        case ToTunnel(vni=vni):
            receiver = owner(policy, segment, key) if policy.snapshot.segments[segment].vni == vni else None
            here = policy.vports[sent.vport].host
            return None if receiver is None or receiver.host == here else receiver
    return owner(policy, segment, key)


def brought_to(policy: Policy, plan: Plan) -> int:
    """Return the vport whose inbound cache the first packet is sent on to in the same switch, 0 for none."""
    if len(plan.forward) < 2:
        return 0
    sender, receiver = plan.forward[0].vport, plan.forward[1].vport
    return receiver if policy.dpids.get(sender) == policy.dpids.get(receiver) else 0


def leads_back(policy: Policy, segment: str, sent: Leg, key: FlowKey, opened: Leg) -> bool:
    """Return whether a reply behind its sender's leg goes to the vport of the leg that the connection passed before.

    It does too when it goes to the MAC of a NAT pool that the connection has a source of.
    """
    receiver = destination(policy, segment, sent, key)
    if receiver is not None or not opened.verdict.leases:
        return receiver is not None and receiver.number == opened.vport
    treatment, station = sent.verdict.treatment, key.bits >> _ETH_DST_SHIFT[key.family]
    pools = policy.snapshot.nat_pools
    direct = treatment is None or treatment.exit is None
    return direct and any(pools[lease.pool].mac == station for lease in opened.verdict.leases if lease.pool in pools)


def _pass(
    policy: Policy,
    vport: Vport,
    direction: Direction,
    key: FlowKey,
    legs: list[tuple[Leg, FlowKey]],
    lend: Lend | None = None,
) -> FlowKey | None:
    """Add one leg; return the key behind it, None when it denies."""
    view = policy.view(vport, direction)
    verdict = walk(view, key, lend)
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

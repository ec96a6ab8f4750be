"""Connections taken over from a switch that had them before this controller started."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from ryu_apps.control.connections import awaits_answer
from ryu_apps.control.core import ControlCore
from ryu_apps.control.course import limits_at
from ryu_apps.control.leases import owner_of
from ryu_apps.control.lender import Lender
from ryu_apps.control.unified_flow import UnifiedFlow
from ryu_apps.engine.connection import connect
from ryu_apps.engine.policy import Policy
from ryu_apps.model.fields import FIELDS
from ryu_apps.model.flow_key import FlowKey, reverse
from ryu_apps.model.network import tag_of
from ryu_apps.model.rules import Direction
from ryu_apps.pipeline.cached import (
    AGGRESSIVE_IDLE_TIMEOUT_S,
    HALF_OPEN_IDLE_TIMEOUT_S,
    UNANSWERED_UDP_IDLE_TIMEOUT_S,
    is_tcp,
)
from ryu_apps.pipeline.cookie import GENERATIONS, EntryClass, unpack

_VLAN_SHIFT = FIELDS["vlan_vid"].shifts


# Address, and port or 0 for none.
Source = tuple[int, int]
NOTHING_LED: Final[Mapping[int, Source]] = MappingProxyType({})


class Found(NamedTuple):
    """A cached entry that a switch has: its cookie, what it matches, and its idle timeout."""

    cookie: int
    segment: int
    vport: int
    direction: Direction
    key: FlowKey
    idle_timeout_s: int = 0


def adopt_flows(
    core: ControlCore, found: Iterable[Found], now_s: float, led: Mapping[int, Source] = NOTHING_LED
) -> int:
    """Keep every connection that policy still knows; return how many.

    The first packet's way is told by the entry class; each connection is walked anew, so what the switch must have for
    it follows from today's policy. Ids in use and connections already known are left: their old entries are stale.
    led: what connections, by flow id, have of NAT pools. These come first, so that nobody gets what another has.
    """
    by_flow: dict[int, list[Found]] = defaultdict(list)
    replies: dict[int, Found] = {}
    for entry in found:
        cookie = unpack(entry.cookie)
        if cookie is not None and cookie.entry_class is EntryClass.FORWARD:
            by_flow[cookie.detail].append(entry)
        elif cookie is not None and cookie.entry_class is EntryClass.REPLY:
            replies[cookie.detail] = entry
    for flow_id in replies.keys() - by_flow.keys():
        reply = replies[flow_id]
        turned = _beginning(core.policy, reply, reverse(reply.key))
        by_flow[flow_id] = [] if turned is None else [turned]
    adopted = 0
    for flow_id, entries in sorted(by_flow.items(), key=lambda pair: pair[0] not in led):
        first = min(entries, key=_outbound_first, default=None)
        if first is not None and first.direction is Direction.INBOUND:
            first = _beginning(core.policy, first, first.key) or first
        flow = None if first is None else _flow(core, flow_id, first, now_s, led.get(flow_id))
        if flow is not None:
            core.flows.add(flow)
            if flow.half_open and is_tcp(flow.key):
                core.life.began(flow_id, flow.plan.forward[0].vport)
            adopted += 1
    return adopted


def _beginning(policy: Policy, entry: Found, key: FlowKey) -> Found | None:
    """Return the entry at the place where a connection began, which a full NIC had no room for.

    key is that of the first packets at the entry that there is.
    None where it cannot be told because packets were edited on their way, and where the NIC is not limited.
    """
    segment, vport = policy.segments.get(entry.segment), policy.vports.get(entry.vport)
    if segment is None or vport is None:
        return None
    sender = policy.directory.owner(segment.id, FIELDS["eth_src"].get(key))
    place, direction = (vport, Direction.INBOUND) if sender is None else (sender, Direction.OUTBOUND)
    if segment.id not in place.segments or limits_at(policy, place.number).entries(direction) is None:
        return None
    if connect(policy, segment.id, place, direction, key).edits:
        return None
    return entry._replace(vport=place.number, direction=direction, key=key)


def _half(flow: UnifiedFlow) -> bool:
    """Return whether a flow was taken over from its receiver's entries alone."""
    return flow.plan.forward[0].direction is Direction.INBOUND


def _outbound_first(entry: Found) -> bool:
    return entry.direction is not Direction.OUTBOUND


def _flow(
    core: ControlCore, flow_id: int, first: Found, now_s: float, led: Source | None
) -> UnifiedFlow | None:
    policy = core.policy
    vport, segment = policy.vports.get(first.vport), policy.segments.get(first.segment)
    if vport is None or segment is None or segment.id not in vport.segments:
        return None
    known = core.flows.get(flow_id)
    if known is not None and first.direction is Direction.OUTBOUND and _half(known):
        # The receiver's switch was read before the sender's: now the whole connection is seen.
        core.flows.remove(known)
        core.life.forget(flow_id)
    elif known is not None:
        return None
    # The pipeline takes tags off before the caches, so that no entry holds a trunk's.
    key = FlowKey(first.key.family, first.key.bits | tag_of(vport, segment) << _VLAN_SHIFT[first.key.family])
    owner = owner_of(vport.number, segment.number, key)
    lend = Lender(core.flows.leases, policy.snapshot.nat_pools, owner, (led,) if led else ())
    plan = connect(policy, segment.id, vport, first.direction, key, lend)
    generation = policy.snapshot.generation
    cookie = unpack(first.cookie)
    # Of the generation that the entry was made under the cookie holds the low bits.
    made = generation - (generation - (cookie.generation if cookie else 0)) % GENERATIONS
    unanswered_s = HALF_OPEN_IDLE_TIMEOUT_S if is_tcp(key) else UNANSWERED_UDP_IDLE_TIMEOUT_S
    # A rule's own time may be as short.
    usual_s = plan.forward[0].verdict.idle_timeout_s
    aggressive = first.idle_timeout_s == AGGRESSIVE_IDLE_TIMEOUT_S != usual_s
    awaits = (is_tcp(key) and plan.allow) or awaits_answer(plan, key, aggressive=aggressive)
    half_open = awaits and (aggressive or first.idle_timeout_s == unanswered_s)
    lacks = plan.metered and not core.flows.meters.fit(plan, flow_id)
    flow = UnifiedFlow(
        flow_id, segment.number, key, plan, made, generation, now_s, half_open=half_open, lacks_meter=lacks,
        aggressive=aggressive,
    )  # fmt: skip
    return None if core.flows.knows(flow) else flow

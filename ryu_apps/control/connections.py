"""What packets tell of the life of their TCP connections: resets that reach the host as copies, and misses."""

from __future__ import annotations

from typing import Final

from ryu_apps.control.connection_id import connection_id
from ryu_apps.control.flow_table import FlowTable
from ryu_apps.control.holding import Held
from ryu_apps.control.life import Life
from ryu_apps.control.unified_flow import UnifiedFlow
from ryu_apps.control.variant import same_ends
from ryu_apps.engine.connection import Plan
from ryu_apps.model.flow_key import PROTO_TCP, PROTO_UDP, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN, FlowKey, Parsed, parse
from ryu_apps.model.rules import Direction
from ryu_apps.pipeline.cached import is_tcp, protocol
from ryu_apps.pipeline.cookie import Cookie, EntryClass, Refusal
from ryu_apps.pipeline.entry import FlowEntry, MatchValue, entry
from ryu_apps.pipeline.registers import RECEIVER, SENDER

# Below what is known of connections, above the miss.
_CHOKE_PRIORITY: Final = 50
# After so long a half-open connection has been removed by the switch, unless it is none.
_DOUBTFUL_S: Final = 60.0
_MOST_DOUBTFUL: Final = 200


def tcp_flags(frame: bytes, parsed: Parsed) -> int:
    """Return the flags of a TCP packet, 0 for any other and for later fragments."""
    return frame[parsed.l4_offset + 13] if is_tcp(parsed.key) and parsed.fragment != 2 else 0


def awaits_answer(plan: Plan, key: FlowKey, *, aggressive: bool) -> bool:
    """Return whether a connection may be answered, and is to go sooner until it is: UDP, and all that ages fast."""
    return plan.allow and bool(plan.reply) and (aggressive or protocol(key) == PROTO_UDP)


class Connections(Life):
    """The life of the connections in a flow table, as their packets tell it."""

    def __init__(self, flows: FlowTable, half_open_per_vport: int) -> None:
        super().__init__(half_open_per_vport)
        self._flows = flows

    def take_end(self, segment: int, frame: bytes, now_s: float) -> None:
        """Take note of a packet with RST that all verdicts have let pass; it has gone on by itself."""
        parsed = parse(frame)
        flags = tcp_flags(frame, parsed) if parsed else 0
        if parsed is None or not flags & TCP_RST:
            return
        known = self._flows.find(connection_id(segment, parsed.key))
        flow = next((flow for flow in known if flow.plan.allow and not flow.parent), None)
        if flow is not None:
            reply = not same_ends(_as_delivered(flow), parsed.key)
            self.ended(flow.id, reply=reply, reset=True, now_s=now_s)

    def host_forwards(self, flow: UnifiedFlow, leg: Held, frame: bytes, parsed: Parsed, now_s: float) -> UnifiedFlow:
        """Note the FIN of a packet that missed, of which no entry tells; return its flow, as it is kept from now on.

        What the flow gets again in a direction that has ended is not to end by FIN: the switch remembers that one.
        """
        whole = flow.parent or flow.id
        if tcp_flags(frame, parsed) & TCP_FIN and not self.is_closing(whole):
            begun = self._flows.get(whole) or flow
            reply = any(leg[1:] == (back.vport, back.direction) for back in begun.plan.reply)
            self.ended(whole, reply=reply, reset=False, now_s=now_s)
        ways = self.ended_ways(whole)
        if flow.parent or flow.ended == ways:
            return flow
        self.returned(whole)
        return self._kept(flow._replace(ended=ways), flow)

    def goes_on(self, flow: UnifiedFlow, leg: Held, frame: bytes, parsed: Parsed) -> bool:
        """Note one more packet of a flow that missed; return whether the flow is to have its entry.

        It is not when the connection closes or has closed, unless so much comes that this proves wrong.
        """
        whole = flow.parent or flow.id
        if self.is_closing(whole):
            return not tcp_flags(frame, parsed) & (TCP_FIN | TCP_RST) and self.reopens(whole)
        if any(leg[1:] == (back.vport, back.direction) for back in flow.plan.reply):
            self.answered(whole)
        return True

    def has_answer(self, flow: UnifiedFlow, leg: Held) -> bool:
        """Return whether a half-open flow has been answered, by what missed; at this leg a packet did just now."""
        if is_tcp(flow.key):
            return not self.is_half_open(flow.id)
        return any(leg[1:] == (back.vport, back.direction) for back in flow.plan.reply)

    def replied(self, flow_id: int, replies: int | None) -> bool:
        """Return whether a connection has been answered, by the count of its replies, None where no entry counts."""
        if replies:
            self.answered(flow_id)
        return not self.is_half_open(flow_id)

    def doubtful(self, now_s: float) -> list[UnifiedFlow]:
        """Return connections that have counted as half open for longer than their entries live; at most so many.

        They were answered and have been in use since, or a switch has lost their entries and said nothing.
        """
        found: list[UnifiedFlow] = []
        for flow_id in self.half_open_ids():
            flow = self._flows.get(flow_id)
            if flow is None or now_s - flow.created_s < _DOUBTFUL_S or len(found) == _MOST_DOUBTFUL:
                break
            found.append(flow)
        return found

    def lasting(self, flow: UnifiedFlow, replies: int) -> UnifiedFlow | None:
        """Return a flow whose short timeout has run out, as it is kept from now on; None when nobody has answered."""
        if not (self.replied(flow.id, replies) if is_tcp(flow.key) else replies):
            return None
        self.returned(flow.id)
        return self._kept(flow._replace(half_open=False, aggressive=False, ended=self.ended_ways(flow.id)), flow)

    def _kept(self, flow: UnifiedFlow, instead_of: UnifiedFlow) -> UnifiedFlow:
        self._flows.replace(instead_of, flow)
        return flow


def _as_delivered(flow: UnifiedFlow) -> FlowKey:
    """Return the key of a connection's packets, the first one's way, behind all edits."""
    key = flow.key
    for leg in flow.plan.forward:
        key = leg.verdict.edit.apply(key)
    return key


def choke(vport: int, direction: Direction, seconds: int) -> tuple[FlowEntry, ...]:
    """Return the entries that drop and count the new TCP connections of a vport that have no entry, for so long."""
    register = SENDER if direction is Direction.OUTBOUND else RECEIVER
    cookie = Cookie(EntryClass.GUARD, vport=vport, detail=Refusal.HALF_OPEN_LIMIT).pack()
    made = []
    for eth_type in (0x0800, 0x86DD):
        syn: MatchValue = (TCP_SYN, TCP_SYN | TCP_ACK)
        match: dict[str, MatchValue] = {register: vport, "eth_type": eth_type, "ip_proto": PROTO_TCP, "tcp_flags": syn}
        made.append(entry(direction.value, _CHOKE_PRIORITY, match, cookie=cookie, hard_timeout_s=seconds))
    return tuple(made)

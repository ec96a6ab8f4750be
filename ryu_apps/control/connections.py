"""What packets tell of the life of their TCP connections: ends that reach the host as copies, and misses."""

from __future__ import annotations

from typing import Final

from ryu_apps.control.connection_id import connection_id
from ryu_apps.control.flow_table import FlowTable, UnifiedFlow
from ryu_apps.control.holding import Held
from ryu_apps.control.life import Life
from ryu_apps.control.variant import same_ends
from ryu_apps.model.fields import FIELDS
from ryu_apps.model.flow_key import PROTO_TCP, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN, FlowKey, Parsed, parse
from ryu_apps.model.rules import Direction
from ryu_apps.pipeline.cookie import Cookie, EntryClass, Refusal
from ryu_apps.pipeline.entry import FlowEntry, MatchValue, entry
from ryu_apps.pipeline.registers import RECEIVER, SENDER

_PROTO_SHIFT: Final = FIELDS["ip_proto"].shifts
# Below what is known of connections, above the miss.
_CHOKE_PRIORITY: Final = 50
# After so long a half-open connection has been removed by the switch, unless it is none.
_DOUBTFUL_S: Final = 60.0
_MOST_DOUBTFUL: Final = 200


def is_tcp(key: FlowKey) -> bool:
    """Return whether packets with a key are TCP."""
    shift = _PROTO_SHIFT.get(key.family)
    return shift is not None and key.bits >> shift & 0xFF == PROTO_TCP


def tcp_flags(frame: bytes, parsed: Parsed) -> int:
    """Return the flags of a TCP packet, 0 for any other and for later fragments."""
    return frame[parsed.l4_offset + 13] if is_tcp(parsed.key) and parsed.fragment != 2 else 0


class Connections(Life):
    """The life of the connections in a flow table, as their packets tell it."""

    def __init__(self, flows: FlowTable, half_open_per_vport: int) -> None:
        super().__init__(half_open_per_vport)
        self._flows = flows

    def take_end(self, segment: int, frame: bytes, now_s: float) -> None:
        """Take note of a packet with FIN or RST that all verdicts have let pass; it has gone on by itself."""
        parsed = parse(frame)
        flags = tcp_flags(frame, parsed) if parsed else 0
        if parsed is None or not flags & (TCP_FIN | TCP_RST):
            return
        known = self._flows.find(connection_id(segment, parsed.key))
        flow = next((flow for flow in known if flow.plan.allow and not flow.parent), None)
        if flow is not None:
            reply = not same_ends(_as_delivered(flow), parsed.key)
            self.ended(flow.id, reply=reply, reset=bool(flags & TCP_RST), now_s=now_s)

    def goes_on(self, flow: UnifiedFlow, leg: Held, frame: bytes, parsed: Parsed) -> bool:
        """Note one more packet of a flow that missed; return whether the flow is to have its entry.

        It is not when the connection has closed, unless so much comes that this proves wrong.
        """
        whole = flow.parent or flow.id
        if self.is_closed(whole):
            return not tcp_flags(frame, parsed) & (TCP_FIN | TCP_RST) and self.reopens(whole)
        if any(leg[1:] == (back.vport, back.direction) for back in flow.plan.reply):
            self.answered(whole)
        return True

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
        if not self.replied(flow.id, replies):
            return None
        lasting = flow._replace(half_open=False)
        self._flows.replace(flow, lasting)
        return lasting


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

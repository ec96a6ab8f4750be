"""From a leg of a connection to its exact-match entry: the plain compiler that byte templates are proven against."""

from __future__ import annotations

from typing import Final, NamedTuple

from ryu_apps.engine.connection import Leg
from ryu_apps.engine.lending import is_exhausted
from ryu_apps.model.fields import FIELDS
from ryu_apps.model.flow_key import PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, Family, FlowKey, customer_tag
from ryu_apps.model.rules import Direction
from ryu_apps.model.transposition import IDENTITY, Transposition
from ryu_apps.model.treatment import Treatment
from ryu_apps.pipeline.editing import PORT_FIELDS
from ryu_apps.pipeline.entry import ContractBroken, FinTimeout, FlowEntry, MatchValue, entry
from ryu_apps.pipeline.registers import RECEIVER, SEGMENT, SENDER
from ryu_apps.pipeline.treated import next_table, treated_actions

CACHED_PRIORITY: Final = 100

# Idle time after which the switch removes an entry, by IP protocol; per-rule values stand before these.
IDLE_TIMEOUTS_S: Final = {6: 300, 17: 60, 132: 300}
# The most for a TCP connection that nobody has answered yet, whatever a rule says.
HALF_OPEN_IDLE_TIMEOUT_S: Final = 10
OTHER_IDLE_TIMEOUT_S: Final = 30
# Of UDP that nobody has answered yet, the entries that its questions pass; a rule's value stands before this as well.
UNANSWERED_UDP_IDLE_TIMEOUT_S: Final = 30
# The most for what comes of a flood, until it is answered.
AGGRESSIVE_IDLE_TIMEOUT_S: Final = 2
# What a FIN or RST of its direction leaves of an entry's timeouts. The hard one tells this from others when the entry
# goes; it counts from the making of the entry, so that one older than 18 hours goes at once.
FIN_IDLE_TIMEOUT_S: Final = 1
FIN_HARD_TIMEOUT_S: Final = 65_535
_PROTO_SHIFT: Final = FIELDS["ip_proto"].shifts
# A refused packet's entry spares the controller a flood, and must not outlive its cause by long.
DENY_IDLE_TIMEOUT_S: Final = 10
DENY_HARD_TIMEOUT_S: Final = 60
# Soon something may be free again.
EXHAUSTED_HARD_TIMEOUT_S: Final = 2


_new = tuple.__new__


class CachedEntry(NamedTuple):
    """What one leg becomes in the switch: an exact entry for one vport and direction.

    ends_by_fin: it goes by itself soon after a FIN or RST has passed it.
    """

    cookie: int
    direction: Direction
    segment: int
    vport: int
    key: FlowKey
    exact_dscp: bool
    allow: bool
    edit: Transposition
    idle_timeout_s: int
    hard_timeout_s: int
    treatment: Treatment | None = None
    ends_by_fin: bool = False


def cached(
    leg: Leg, key: FlowKey, segment: int, cookie: int, half_open: bool = False, ended: bool = False,
    aggressive: bool = False,
) -> CachedEntry:  # fmt: skip
    """Return the entry of a leg whose packets have this key.

    ended: its direction has had its FIN already; aggressive: it comes of a flood and is to go soon.
    """
    vport, direction, verdict, exact_dscp = leg
    if verdict.allow:
        idle, hard = verdict.idle_timeout_s or idle_timeout_s(key), 0
        if half_open and is_tcp(key):
            idle = min(idle, HALF_OPEN_IDLE_TIMEOUT_S)
        elif half_open:
            idle = verdict.idle_timeout_s or UNANSWERED_UDP_IDLE_TIMEOUT_S
    else:
        idle, hard = DENY_IDLE_TIMEOUT_S, DENY_HARD_TIMEOUT_S
        if verdict.pooled and is_exhausted(verdict):
            hard = EXHAUSTED_HARD_TIMEOUT_S
    if aggressive:
        idle = min(idle, AGGRESSIVE_IDLE_TIMEOUT_S)
    allow, edit, treatment = verdict.allow, verdict.edit, verdict.treatment
    ends_by_fin = allow and not ended and is_tcp(key)
    # Four of these are made for each miss.
    return _new(
        CachedEntry,
        (cookie, direction, segment, vport, key, exact_dscp, allow, edit, idle, hard, treatment, ends_by_fin),
    )


def protocol(key: FlowKey) -> int:
    """Return the IP protocol of packets with a key, -1 for what is not IP."""
    shift = _PROTO_SHIFT.get(key.family)
    return -1 if shift is None else key.bits >> shift & 0xFF


def is_tcp(key: FlowKey) -> bool:
    """Return whether packets with a key are TCP."""
    return protocol(key) == PROTO_TCP


def idle_timeout_s(key: FlowKey) -> int:
    """Return the idle timeout of a key's protocol, in seconds."""
    return IDLE_TIMEOUTS_S.get(protocol(key), OTHER_IDLE_TIMEOUT_S)


def compile_cached(made: CachedEntry) -> FlowEntry:
    """Return the flow entry: every field of the key exact, the composed edit and treatment, on to the next table."""
    outbound = made.direction is Direction.OUTBOUND
    match: dict[str, MatchValue] = {
        SEGMENT: made.segment,
        SENDER if outbound else RECEIVER: made.vport,
        **match_of(made.key, exact_dscp=made.exact_dscp),
    }
    edit, treatment = made.edit if made.allow else IDENTITY, made.treatment or Treatment()
    goto = next_table(treatment.exit, outbound=outbound) if made.allow else None
    return entry(
        made.direction.value,
        CACHED_PRIORITY,
        match,
        *([FinTimeout(FIN_IDLE_TIMEOUT_S, FIN_HARD_TIMEOUT_S)] if made.ends_by_fin else ()),
        *treated_actions(treatment, edit, made.key),
        goto=goto,
        cookie=made.cookie,
        idle_timeout_s=made.idle_timeout_s,
        hard_timeout_s=made.hard_timeout_s,
    )


def match_of(key: FlowKey, *, exact_dscp: bool) -> dict[str, MatchValue]:
    """Return the exact match of a key; the pipeline has taken VLAN tags off but for a customer's."""
    if key.family in (Family.ARP, Family.ND):
        raise ContractBroken(f"{key.family.name} is decided packet by packet and has no exact entry")
    names = ["eth_dst", "eth_src", "eth_type"]
    proto = 0
    if key.family in (Family.IPV4, Family.IPV6):
        version = "ipv4" if key.family is Family.IPV4 else "ipv6"
        proto = FIELDS["ip_proto"].get(key)
        names += ["ip_proto", f"{version}_src", f"{version}_dst"]
        names += ["ip_dscp"] if exact_dscp else []
        if proto == (PROTO_ICMP if version == "ipv4" else PROTO_ICMPV6):
            icmp = "icmpv4" if version == "ipv4" else "icmpv6"
            names += [f"{icmp}_type", f"{icmp}_code"]
    match: dict[str, MatchValue] = {name: FIELDS[name].get(key) for name in names}
    match["vlan_vid"] = customer_tag(key)
    if proto in PORT_FIELDS:
        source, destination = PORT_FIELDS[proto]
        match[source], match[destination] = FIELDS["l4_src"].get(key), FIELDS["l4_dst"].get(key)
    return match

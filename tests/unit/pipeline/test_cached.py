"""Exact entries: one connection's packets and nothing wider."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ryu_apps.engine.connection import Leg
from ryu_apps.engine.ruling import Ruling, conclude
from ryu_apps.model.fields import FIELDS
from ryu_apps.model.flow_key import PROTO_ICMP, PROTO_ICMPV6, PROTOS_WITH_PORTS, Family, customer_tag
from ryu_apps.model.rules import Direction
from ryu_apps.model.treatment import Treatment
from ryu_apps.pipeline.cached import (
    CACHED_PRIORITY,
    DENY_HARD_TIMEOUT_S,
    DENY_IDLE_TIMEOUT_S,
    FIN_HARD_TIMEOUT_S,
    FIN_IDLE_TIMEOUT_S,
    CachedEntry,
    cached,
    compile_cached,
    idle_timeout_s,
)
from ryu_apps.pipeline.editing import PORT_FIELDS, retag_actions
from ryu_apps.pipeline.entry import FinTimeout, SetField, check_contract
from ryu_apps.pipeline.registers import RECEIVER, SEGMENT, SENDER
from tests.unit.southbound.entries import cached_entries


@given(cached_entries())
def test_an_exact_entry_carries_every_field_of_its_key(made: CachedEntry) -> None:
    """M02: vport, segment, VLAN, both MACs, and every field that such a packet has, each exact and equal to the key's.

    DSCP may be left open where no rule of the vport looks at it.
    """
    match = dict(compile_cached(made).match)
    assert all(isinstance(value, int) for value in match.values())
    assert match.pop(SEGMENT) == made.segment
    assert match.pop(SENDER if made.direction is Direction.OUTBOUND else RECEIVER) == made.vport
    assert match.pop("vlan_vid") == customer_tag(made.key)
    family = made.key.family
    expected = {"eth_dst", "eth_src", "eth_type"}
    proto = 0
    if family is not Family.LINK:
        version = "ipv4" if family is Family.IPV4 else "ipv6"
        proto = FIELDS["ip_proto"].get(made.key)
        expected |= {"ip_proto", f"{version}_src", f"{version}_dst"}
        if made.exact_dscp:
            expected.add("ip_dscp")
        icmp = ("icmpv4", PROTO_ICMP) if version == "ipv4" else ("icmpv6", PROTO_ICMPV6)
        if proto == icmp[1]:
            expected |= {f"{icmp[0]}_type", f"{icmp[0]}_code"}
        if proto in PROTOS_WITH_PORTS:
            expected |= set(PORT_FIELDS[proto])
    assert set(match) == expected
    for name, value in match.items():
        side = {"src": "l4_src", "dst": "l4_dst"}.get(name[-3:]) if name in PORT_FIELDS.get(proto, ()) else name
        assert value == FIELDS[side or name].get(made.key)


@given(cached_entries(), st.integers(0, 200))
def test_packets_that_differ_in_a_field_have_different_entries(made: CachedEntry, bit: int) -> None:
    """M02: flipping any bit of a key gives another entry, unless the packet does not have the field of that bit."""
    other = made._replace(key=made.key._replace(bits=made.key.bits ^ 1 << bit))
    same = compile_cached(other).match == compile_cached(made).match
    fields = [FIELDS[name].get(made.key) != FIELDS[name].get(other.key) for name in ("eth_src", "eth_dst", "eth_type")]
    if same:
        assert not any(fields)
        if made.key.family is not Family.LINK:
            version = "ipv4" if made.key.family is Family.IPV4 else "ipv6"
            for name in ("ip_proto", f"{version}_src", f"{version}_dst"):
                assert FIELDS[name].get(made.key) == FIELDS[name].get(other.key)
            if FIELDS["ip_proto"].get(made.key) in PROTOS_WITH_PORTS:
                assert (made.key.bits ^ other.key.bits) & 0xFFFFFFFF == 0


@given(cached_entries())
def test_a_verdict_becomes_one_entry_of_its_direction(made: CachedEntry) -> None:
    """An allowed packet is edited once and goes on behind its cache; a refused one is dropped there.

    M19: before all that a FIN may shorten the entry's life.
    """
    entry = compile_cached(made)
    check_contract(entry)
    outbound = made.direction is Direction.OUTBOUND
    assert (entry.table, entry.priority) == ("outbound" if outbound else "inbound", CACHED_PRIORITY)
    assert entry.goto == (("deliver" if outbound else "closing") if made.allow else None)
    if not made.allow:
        assert entry.actions == ()
        return
    after = made.edit.apply(made.key)
    tags = retag_actions(customer_tag(made.key), customer_tag(after))
    actions = entry.actions
    if made.ends_by_fin:
        assert actions[0] == FinTimeout(FIN_IDLE_TIMEOUT_S, FIN_HARD_TIMEOUT_S)
        actions = actions[1:]
    assert actions[len(actions) - len(tags) :] == tags
    for action in actions[: len(actions) - len(tags)]:
        assert isinstance(action, SetField)
        name = (
            {"src": "l4_src", "dst": "l4_dst"}[action.field[-3:]] if action.field.startswith(_PORTED) else action.field
        )
        assert FIELDS[name].get(after) == action.value
    assert len(actions) - len(tags) == len([name for name, _ in made.edit.on(made.key) if name != "vlan_vid"])


_PORTED = ("tcp_", "udp_", "sctp_")


def _nothing(_: Ruling) -> Treatment:
    return Treatment()


@given(cached_entries(), st.sampled_from([None, 7]), st.booleans())
def test_timeouts_are_the_rules_or_the_protocols(made: CachedEntry, timeout_s: int | None, allow: bool) -> None:
    """M10, M18: a rule's idle timeout stands before the protocol's, and refusals live briefly."""
    verdict = conclude((Ruling(layer="a", reason="rule", allow=allow, idle_timeout_s=timeout_s),), _nothing)
    entry = cached(Leg(made.vport, made.direction, verdict, False), made.key, made.segment, made.cookie)
    if allow:
        assert (entry.idle_timeout_s, entry.hard_timeout_s) == (timeout_s or idle_timeout_s(made.key), 0)
        assert entry.idle_timeout_s > 0
    else:
        assert (entry.idle_timeout_s, entry.hard_timeout_s) == (DENY_IDLE_TIMEOUT_S, DENY_HARD_TIMEOUT_S)

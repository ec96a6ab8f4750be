"""Templates and the general codec write what Ryu's serializer writes."""

from __future__ import annotations

import timeit
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from ryu.ofproto import ofproto_v1_4 as ofp
from ryu.ofproto import ofproto_v1_4_parser as parser
from ryu.ofproto.ofproto_protocol import ProtocolDesc

from ryu_apps.control.effects import Emit
from ryu_apps.model.flow_key import Family, FlowKey
from ryu_apps.model.rules import Direction
from ryu_apps.model.transposition import IDENTITY
from ryu_apps.pipeline.cached import CachedEntry, compile_cached
from ryu_apps.pipeline.cookie import Cookie, EntryClass
from ryu_apps.pipeline.entry import (
    FlowEntry,
    Output,
    PopVlan,
    PriorityFromTag,
    PriorityToTag,
    PushVlan,
    Resubmit,
    SetField,
    ToController,
)
from ryu_apps.pipeline.tables import NUMBER
from ryu_apps.southbound import codec, templates
from ryu_apps.southbound.packet_out import packet_out
from ryu_apps.southbound.wire import ADD, DELETE_STRICT
from tests.unit.southbound import ryu_twin
from tests.unit.southbound.entries import cached_entries, treated_entries

DATAPATH = ProtocolDesc(5)


@given(cached_entries())
def test_an_added_entry_has_the_bytes_of_its_plain_twin_and_of_ryu(made: CachedEntry) -> None:
    """The template, the general codec and Ryu's serializer agree byte for byte on an addition."""
    assert templates.add(made) == codec.flow_mod(compile_cached(made)) == ryu_twin.flow_mod_bytes(compile_cached(made))


@given(treated_entries())
def test_an_entry_that_treats_packets_has_the_bytes_of_ryu(made: CachedEntry) -> None:
    """Meters, copies and exits are added with Ryu's bytes, and removed like any other entry."""
    plain = compile_cached(made)
    assert templates.add(made) == codec.flow_mod(plain) == ryu_twin.flow_mod_bytes(plain)
    assert templates.delete_strict(made) == codec.flow_mod(plain, DELETE_STRICT)


@given(cached_entries())
def test_a_removed_entry_has_the_bytes_of_its_plain_twin_and_of_ryu(made: CachedEntry) -> None:
    """The three agree on a strict removal, which carries no instructions and no timeouts."""
    plain = compile_cached(made)
    expected = ryu_twin.flow_mod_bytes(plain, DELETE_STRICT)
    assert templates.delete_strict(made) == codec.flow_mod(plain, DELETE_STRICT) == expected


@given(cached_entries())
def test_ryu_reads_a_template_as_the_entry_that_it_was_made_from(made: CachedEntry) -> None:
    """Ryu's parser finds the very fields of the compiled entry in a template's bytes."""
    message = templates.add(made)
    read = parser.msg_parser(DATAPATH, 5, message[1], len(message), 0, bytearray(message))
    plain = compile_cached(made)
    wanted = ryu_twin.flow_mod(DATAPATH, plain)
    for name in ("cookie", "table_id", "command", "idle_timeout", "hard_timeout", "priority", "buffer_id", "flags"):
        assert getattr(read, name) == getattr(wanted, name), name
    assert _wire_values(read.match) == _wire_values(wanted.match)
    assert _serialized(read.instructions) == _serialized(wanted.instructions) == codec.encode_instructions(plain)


def _wire_values(match: Any) -> list[Any]:
    """Return fields as bytes: Ryu writes one IPv6 address in several ways."""
    return [ofp.oxm_from_user(name, value) for name, value in match.items()]


def _serialized(instructions: list[Any]) -> bytes:
    buffer = bytearray()
    for instruction in instructions:
        instruction.serialize(buffer, len(buffer))
    return bytes(buffer)


def _plain(**changes: object) -> FlowEntry:
    entry = FlowEntry(table="outbound", priority=7, match=(), cookie=Cookie(EntryClass.BASE, vport=3).pack())
    return replace(entry, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "entry",
    [
        _plain(),
        _plain(goto="deliver"),
        _plain(meter=0x7FFFFFFF),
        _plain(meter=5, actions=(SetField("reg0", 2),), goto="guard"),
        _plain(match=(("in_port", 3), ("tunnel_id", 5000))),
        _plain(match=(("in_port", 0xFFFFFFFE), ("vlan_vid", 0x1005))),
        _plain(match=(("eth_dst", (1 << 40, 1 << 40)),)),
        _plain(match=(("eth_type", 0x0800), ("ip_frag", (1, 1)))),
        _plain(match=(("arp_sha", 5), ("arp_spa", 6), ("eth_type", 0x0806), ("reg1", 7))),
        _plain(match=(("arp_op", 1), ("arp_tha", 5), ("arp_tpa", (6, 0xFE)), ("eth_type", 0x0806))),
        _plain(match=(("eth_type", 0x86DD), ("icmpv6_type", 135), ("ip_proto", 58), ("ipv6_nd_sll", 9))),
        _plain(match=(("eth_type", 0x86DD), ("icmpv6_type", 136), ("ip_proto", 58), ("ipv6_nd_target", 1 << 120))),
        _plain(match=(("eth_type", 0x86DD), ("icmpv6_type", 136), ("ip_proto", 58), ("ipv6_nd_tll", 4))),
        _plain(actions=(SetField("reg3", 2), Resubmit("egress"), SetField("reg2", 9), Resubmit("inbound"))),
        _plain(actions=(PopVlan(), SetField("reg0", 2)), goto="guard"),
        _plain(actions=(PushVlan(4094), Output(3), Output(0xFFFFFFFE))),
        _plain(actions=(PriorityFromTag(), PopVlan())),
        _plain(actions=(PushVlan(7), PriorityToTag(), Output(3))),
        _plain(actions=(ToController(),)),
        _plain(idle_timeout_s=3, hard_timeout_s=4, cookie=Cookie(EntryClass.REPLY).pack()),
    ],
    ids=lambda entry: str(entry.match or entry.actions or entry.goto),
)
@pytest.mark.parametrize("command", [ADD, DELETE_STRICT])
def test_every_kind_of_entry_has_the_bytes_of_ryu(entry: FlowEntry, command: int) -> None:
    """The general codec writes each field and action as Ryu does."""
    assert codec.flow_mod(entry, command, xid=5) == ryu_twin.flow_mod_bytes(entry, command, xid=5)


@pytest.mark.parametrize(
    "edits", [(), (SetField("ipv4_dst", 0x0A000002), SetField("eth_src", 2), SetField("udp_dst", 9))]
)
def test_a_packet_out_has_the_bytes_of_ryu(edits: tuple[SetField, ...]) -> None:
    """A packet-out sets the registers, makes the edits, looks the frame up in the table, and has Ryu's bytes."""
    emit = Emit(1, "inbound", in_port=9, segment=70000, sender=4, receiver=5, frame=b"\2" * 61, actions=edits)
    registers = {"reg0": emit.segment, "reg1": emit.sender, "reg2": emit.receiver}
    values = [*registers.items(), *((edit.field, edit.value) for edit in edits)]
    actions = [parser.OFPActionSetField(**{name: value}) for name, value in values]
    actions.append(parser.NXActionResubmitTable(table_id=NUMBER["inbound"]))
    message = parser.OFPPacketOut(
        DATAPATH, buffer_id=ofp.OFP_NO_BUFFER, in_port=emit.in_port, actions=actions, data=emit.frame
    )
    message.set_xid(0)
    message.serialize()
    assert packet_out(emit) == bytes(message.buf)


def test_a_packet_out_with_more_has_the_bytes_of_ryu() -> None:
    """What is done to a lone packet beside its registers stands between them and the look-up."""
    extra = (SetField("reg4", 7), Resubmit("meter"), SetField("tunnel_id", 5000), SetField("tun_ipv4_dst", 0xAC100002))
    emit = Emit(1, "egress", 9, 1, 4, 0, b"\2" * 61, extra)
    entry = FlowEntry(
        table="outbound", priority=1, match=(),
        actions=(SetField("reg0", 1), SetField("reg1", 4), SetField("reg2", 0), *extra, Resubmit("egress")),
    )  # fmt: skip
    (instruction,) = ryu_twin.instructions_of(entry)
    message = parser.OFPPacketOut(
        DATAPATH, buffer_id=ofp.OFP_NO_BUFFER, in_port=9, actions=instruction.actions, data=emit.frame
    )
    message.set_xid(0)
    message.serialize()
    assert packet_out(emit) == bytes(message.buf)


def test_templates_are_bounded() -> None:
    """Ever new timeouts do not make the templates' memory grow without end."""
    key = FlowKey(Family.LINK, 0x88B5)
    for idle_s in range(5000):
        templates.add(CachedEntry(0, Direction.OUTBOUND, 1, 1, key, False, True, IDENTITY, idle_s, 0))
    assert len(templates._shapes) <= templates._MAX_SHAPES


def test_a_template_is_far_quicker_than_its_twin() -> None:
    """The template earns its keep: at least three times as quick as the general codec, compiling included."""
    key = FlowKey(Family.IPV4, 0x0800 << 112 | 6 << 104 | 5 << 64 | 80)
    made = CachedEntry(0, Direction.OUTBOUND, 1, 1, key, False, True, IDENTITY, 300, 0)
    quick = min(timeit.repeat(lambda: templates.add(made), number=500, repeat=5))
    plain = min(timeit.repeat(lambda: codec.flow_mod(compile_cached(made)), number=500, repeat=5))
    assert plain > 3 * quick

"""The core: events in, effects out."""

from __future__ import annotations

import struct

import pytest

from ryu_apps.control.connection_id import connection_id
from ryu_apps.control.core import ControlCore
from ryu_apps.control.effects import CountEntry, Effect, Emit, Install, Release
from ryu_apps.control.events import EntryCounted, FlowRemoved, PacketIn
from ryu_apps.control.expiry import DELETE, HARD_TIMEOUT, IDLE_TIMEOUT
from ryu_apps.engine.checksum import checksum
from ryu_apps.engine.policy import compile_policy
from ryu_apps.engine.rewrite import rewrite
from ryu_apps.model.action import Allow, Deny, Nat
from ryu_apps.model.flow_key import FlowKey, parse, reverse
from ryu_apps.model.policy import Change
from ryu_apps.model.transposition import transposition
from ryu_apps.pipeline.cached import CachedEntry
from ryu_apps.pipeline.cookie import EntryClass, Punt, unpack
from tests.unit.policies import IN, IP, MAC, OUT, group, layer, rule, snapshot, tcp


def make_core(*changes: Change) -> ControlCore:
    """Return a core with both hosts' datapaths up."""
    core = ControlCore(compile_policy(snapshot(*changes)))
    core.datapaths = {1: {}, 2: {}}
    return core


def frame(source: str, target: str, proto: int, payload: bytes, ip_id: int = 0, fragment: int = 0) -> bytes:
    """Return an Ethernet frame with an IPv4 packet."""
    header = struct.pack(
        "!BBHHHBBHII", 0x45, 0, 20 + len(payload), ip_id, fragment, 64, proto, 0, IP[source], IP[target]
    )
    return MAC[target].to_bytes(6, "big") + MAC[source].to_bytes(6, "big") + b"\x08\x00" + header + payload


def tcp_frame(source: str = "vm1", target: str = "vm2", sport: int = 40000, dport: int = 80, flags: int = 2) -> bytes:
    """Return a TCP packet, a SYN if nothing else is said."""
    return frame(source, target, 6, struct.pack("!HHIIBBHHH", sport, dport, 1, 0, 0x50, flags, 1000, 0, 0))


NUMBER = {"vm1": 101, "vm2": 102, "vm3": 103}


def met(frame: bytes, vport: str = "vm1", table: str = "outbound", punt: Punt = Punt.MISS) -> PacketIn:
    """Return the packet-in of a frame met at a vport."""
    sender, receiver = (NUMBER[vport], 0) if table == "outbound" else (0, NUMBER[vport])
    return PacketIn(2 if vport == "vm3" else 1, table, punt, 1, 1, sender, receiver, frame)


def installed(effects: list[Effect]) -> list[CachedEntry]:
    """Return the entries that effects install."""
    return [effect.entry for effect in effects if isinstance(effect, Install)]


def removal(entry: CachedEntry, reason: int, dpid: int = 1) -> FlowRemoved:
    """Return the message that an entry is gone."""
    return FlowRemoved(dpid, entry.cookie, reason, 5, 500, 1)


def echo(source: str, target: str) -> FlowKey:
    """Return the key of an ICMP echo request."""
    parsed = parse(frame(source, target, 1, b"\x08\x00" + bytes(6)))
    assert parsed
    return parsed.key


FIREWALL = (
    layer("fw", 1, stateful=True, into=False),
    group("fw", "in", IN, rule("web", Allow(), ip_proto="tcp", l4_dst="80")),
)


def test_a_first_packet_installs_both_directions_and_goes_on() -> None:
    """M01, M08: one miss leaves the entries of the connection and of its replies, and the packet goes through them."""
    core = make_core(*FIREWALL)
    effects = core.packet_in(met(tcp_frame()), 0.0)
    entries = installed(effects)
    assert [(e.vport, e.direction, e.allow) for e in entries] == [
        (101, OUT, True),
        (102, IN, True),
        (102, OUT, True),
        (101, IN, True),
    ]
    assert isinstance(effects[-1], Emit) and effects[-1].table == "outbound"
    assert entries[2].key == reverse(tcp())


def test_a_packet_in_flight_makes_no_second_flow() -> None:
    """M11: a miss that the host already knows does not ask the rules again."""
    core = make_core(*FIREWALL)
    core.packet_in(met(tcp_frame()), 0.0)
    effects = core.packet_in(met(tcp_frame()), 0.1)
    assert len(core.flows) == 1 and core.tally.total["host-hits"] == 1
    assert len(installed(effects)) == 1
    # Behind the cache: through it, a packet that no entry matches would come back for ever.
    assert isinstance(effects[0], Emit) and effects[0].table == "deliver"


def test_a_denied_packet_leaves_a_drop_and_goes_nowhere() -> None:
    """M18: the refusal is cached, with a timeout, and the packet is not sent on."""
    core = make_core(layer("fw", 1), group("fw", "out", OUT, rule("no", Deny())))
    effects = core.packet_in(met(tcp_frame()), 0.0)
    (entry,) = installed(effects)
    assert not entry.allow and entry.idle_timeout_s and entry.hard_timeout_s
    assert not any(isinstance(effect, Emit) for effect in effects)


def test_entries_of_another_host_are_sent_there() -> None:
    """A connection across hosts is installed on both from one miss."""
    core = make_core()
    effects = core.packet_in(met(tcp_frame(target="vm3")), 0.0)
    assert {e.dpid for e in effects if isinstance(e, Install)} == {1, 2}


def test_removing_one_direction_removes_both() -> None:
    """M09: an entry deleted by hand takes its whole connection along."""
    core = make_core(*FIREWALL)
    entries = installed(core.packet_in(met(tcp_frame()), 0.0))
    effects = core.ageing.flow_removed(removal(entries[0], DELETE), 1.0)
    assert {e.entry.cookie for e in effects if isinstance(e, Release)} == {e.cookie for e in entries}
    assert len(core.flows) == 0


def test_an_idle_direction_ends_the_connection_unless_the_other_is_in_use() -> None:
    """M09: expiry of one direction removes both, and both stay while either carries packets."""
    core = make_core(*FIREWALL)
    entries = installed(core.packet_in(met(tcp_frame(flags=0x10)), 0.0))
    entries += installed(core.release(1.0))
    (question,) = core.ageing.flow_removed(removal(entries[0], IDLE_TIMEOUT), 1.0)
    assert isinstance(question, CountEntry)
    asked = unpack(question.cookie)
    assert asked and asked.entry_class is EntryClass.REPLY
    again = core.ageing.entry_counted(EntryCounted(question.cookie, 7), 1.0)
    assert len(installed(again)) == 4 and len(core.flows) == 1
    ended = core.ageing.entry_counted(EntryCounted(question.cookie, 7), 60.0)
    assert len(ended) == 4 and len(core.flows) == 0


@pytest.mark.parametrize("reason", [IDLE_TIMEOUT, HARD_TIMEOUT])
def test_a_packet_may_be_here_before_the_news_of_the_removal(reason: int) -> None:
    """M10: what misses behind a removal gets its entries again, and the late news of the removal takes none away."""
    core = make_core(*FIREWALL)
    ack = tcp_frame(flags=16)
    core.packet_in(met(ack), 0.0)
    core.release(1.0)
    (flow,) = core.flows
    entries = list(core.nic_caches.entries(flow))

    core.packet_in(met(ack), 300.0)
    late = [effect for entry in entries for effect in core.ageing.flow_removed(removal(entry, reason), 300.01)]

    assert set(installed(late)) == set(entries)
    assert not any(isinstance(effect, Release) for effect in late)
    assert core.flows.get(flow.id) is not None


def test_a_packet_while_the_partner_is_asked_about_answers_for_it() -> None:
    """M10: a connection that comes up between the question and its answer is in use, whatever the answer."""
    core = make_core(*FIREWALL)
    ack = tcp_frame(flags=16)
    core.packet_in(met(ack), 0.0)
    (flow,) = core.flows
    entry = next(iter(core.nic_caches.entries(flow)))
    (question,) = core.ageing.flow_removed(removal(entry, IDLE_TIMEOUT), 300.0)
    assert isinstance(question, CountEntry)

    core.packet_in(met(ack), 300.01)

    assert core.ageing.entry_counted(EntryCounted(question.cookie, 0), 300.02) == []
    assert core.flows.get(flow.id) is not None


def test_a_denied_flood_is_asked_about_once_when_its_entry_ends() -> None:
    """M18: a packet that comes before the news of the hard timeout has its drop entry, and keeps it."""
    core = make_core(layer("fw", 1, out=False))
    core.packet_in(met(tcp_frame()), 0.0)
    (flow,) = core.flows
    (entry,) = core.nic_caches.entries(flow)

    assert installed(core.packet_in(met(tcp_frame()), 60.0)) == [entry]

    assert installed(core.ageing.flow_removed(removal(entry, HARD_TIMEOUT), 60.01)) == [entry]


def test_the_way_back_may_be_begun_after_it_was_refused() -> None:
    """A refused packet does not stop the other side from beginning the same connection."""
    core = make_core(
        layer("fw", 1, stateful=True, into=False),
        group("fw", "in", IN, rule("up", Allow(), ip_proto="tcp", l4_dst="40000")),
    )
    core.packet_in(met(tcp_frame()), 0.0)
    effects = core.packet_in(met(tcp_frame("vm2", "vm1", 80, 40000), "vm2"), 1.0)
    assert any(isinstance(e, Release) for e in effects)
    assert all(entry.allow for entry in installed(effects)) and len(core.flows) == 1


def test_other_macs_of_a_connection_are_a_variant_that_ends_with_it() -> None:
    """A reply that comes from another router's MAC passes, exact as every entry, and goes with its connection."""
    core = make_core(layer("fw", 1, stateful=True, into=False))
    first = installed(core.packet_in(met(tcp_frame(target="ext")), 0.0))
    other = bytearray(tcp_frame("ext", "vm1", 80, 40000))
    other[6:12] = b"\x02\x00\x00\x00\x00\x77"
    (entry,) = installed(core.packet_in(met(bytes(other), "vm1", "inbound"), 0.1))
    assert entry.allow and len(core.flows) == 2
    core.ageing.flow_removed(removal(first[0], DELETE), 1.0)
    assert len(core.flows) == 0


@pytest.mark.parametrize("later_first", [False, True])
def test_later_fragments_follow_their_first(later_first: bool) -> None:
    """Later fragments have the verdict of their first, in whatever order they come, and take no entries."""
    core = make_core(
        layer("fw", 1, into=True), group("fw", "out", OUT, rule("no", Deny(), ip_proto="udp", l4_dst="53"))
    )
    for port, passes in ((5000, True), (53, False)):
        first = frame("vm1", "vm2", 17, struct.pack("!HHHH", 9, port, 2000, 0) + b"x" * 64, ip_id=port, fragment=0x2000)
        later = frame("vm1", "vm2", 17, b"y" * 64, ip_id=port, fragment=9)
        effects: list[Effect] = []
        for piece in (later, first) if later_first else (first, later):
            effects += core.packet_in(met(piece, punt=Punt.FRAGMENT), 0.0)
        sent = [e.frame for e in effects if isinstance(e, Emit)]
        assert sorted(sent) == (sorted([first, later]) if passes else [])
        assert installed(effects) == []


def test_flows_that_only_fragments_made_end_when_idle() -> None:
    """What no switch ages, time does."""
    core = make_core()
    core.packet_in(
        met(frame("vm1", "vm2", 17, struct.pack("!HHHH", 9, 9, 2000, 0), 1, 0x2000), punt=Punt.FRAGMENT), 0.0
    )
    core.ageing.tick(30.0)
    assert len(core.flows) == 1
    core.ageing.tick(100.0)
    assert len(core.flows) == 0


def test_an_icmp_error_of_an_allowed_connection_comes_through() -> None:
    """An error that quotes a packet of an allowed connection passes; one that quotes nothing known is denied."""
    core = make_core(layer("fw", 1, stateful=True, into=False))
    sent = tcp_frame(target="ext")
    core.packet_in(met(sent), 0.0)
    error = frame("ext", "vm1", 1, b"\x03\x01\x00\x00\x00\x00\x00\x00" + sent[14:])
    effects = core.packet_in(met(error, "vm1", "inbound"), 0.1)
    assert [type(e) for e in effects] == [Emit] and effects[0].table == "closing"
    stranger = frame("ext", "vm1", 1, b"\x03\x01\x00\x00\x00\x00\x00\x00" + tcp_frame(target="ext", dport=81)[14:])
    assert core.packet_in(met(stranger, "vm1", "inbound"), 0.2) == []


def test_a_malformed_frame_is_counted_and_dropped() -> None:
    """Bad input from a VM makes no state."""
    core = make_core()
    for cut in range(14, 54):
        assert core.packet_in(met(tcp_frame()[:cut]), 0.0) == []
    assert core.tally.of_vport(101)["malformed"] == 40 and len(core.flows) == 0


def test_a_vport_cannot_begin_more_than_its_share_of_flows() -> None:
    """The host's flow table is shared: one VM's flows stop at its limit, another's do not."""
    core = ControlCore(compile_policy(snapshot()), flows_per_vport=3)
    core.datapaths = {1: {}}
    for port in range(5):
        core.packet_in(met(tcp_frame(sport=port)), 0.0)
    assert len(core.flows) == 3 and core.tally.of_vport(101)["flow-limit"] == 2
    assert installed(core.packet_in(met(tcp_frame("vm2", "vm1"), "vm2"), 0.0))


def test_both_directions_of_a_connection_have_one_id() -> None:
    """A packet and its reply are of one connection, and two pings crossing are two."""
    assert connection_id(1, tcp()) == connection_id(1, reverse(tcp()))
    assert connection_id(1, tcp()) != connection_id(2, tcp())
    ping, crossing = echo("vm1", "vm2"), echo("vm2", "vm1")
    assert connection_id(1, ping) == connection_id(1, reverse(ping))
    assert connection_id(1, ping) != connection_id(1, crossing)


def test_an_icmp_error_of_a_translated_connection_is_translated_back() -> None:
    """The VM sees an error about the packet that it sent: outer and quoted addresses and all checksums (RFC 5508)."""
    nat = Nat(edit=transposition({"ipv4_src": 0xC0000201, "l4_src": 5555}))
    core = make_core(layer("nat", 1, stateful=True, into=False), group("nat", "g", OUT, rule("n", nat)))
    sent = with_tcp_checksum(tcp_frame(target="ext"))
    parsed = parse(sent)
    assert parsed
    translated = rewrite(sent, parsed, nat.edit)
    core.packet_in(met(sent), 0.0)
    quoted = bytearray(frame("ext", "vm1", 1, b"\x0b\x00\x00\x00\x00\x00\x00\x00" + translated[14:]))
    quoted[30:34] = (0xC0000201).to_bytes(4, "big")
    (effect,) = core.packet_in(met(bytes(quoted), "vm1", "inbound"), 0.1)
    assert isinstance(effect, Emit) and effect.frame[30:34] == IP["vm1"].to_bytes(4, "big")
    fixed = bytearray(sent[14:])
    fixed[10:12] = effect.frame[42 + 10 : 42 + 12]
    assert effect.frame[42:] == bytes(fixed)
    assert checksum(effect.frame[34:]) == 0 and checksum(effect.frame[42:62]) == 0


def with_tcp_checksum(frame: bytes) -> bytes:
    """Return a frame with its TCP checksum filled in."""
    segment = frame[34:]
    total = checksum(frame[26:34] + struct.pack("!HH", 6, len(segment)) + segment)
    return frame[:50] + struct.pack("!H", total) + frame[52:]

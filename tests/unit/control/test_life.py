"""The life of TCP connections in the core: half open, established, closing, closed."""

from __future__ import annotations

import pytest

from ryu_apps.control.adoption import Found, adopt_flows
from ryu_apps.control.core import ControlCore
from ryu_apps.control.effects import Choke, CountEntry, Effect, Emit, Release
from ryu_apps.control.events import EntryCounted, FlowRemoved, PacketIn
from ryu_apps.control.expiry import DELETE, IDLE_TIMEOUT
from ryu_apps.control.life import CHOKE_S, CLOSED_S, LATE_PKTS, LINGER_S
from ryu_apps.engine.policy import compile_policy
from ryu_apps.pipeline.cached import HALF_OPEN_IDLE_TIMEOUT_S, IDLE_TIMEOUTS_S, CachedEntry
from ryu_apps.pipeline.cookie import Cookie, EntryClass, Punt, Refusal, unpack
from tests.unit.control.test_core import installed, make_core, met, tcp_frame
from tests.unit.policies import layer, snapshot

SYN, ACK, FIN, RST = 2, 16, 17, 4
LONG_S = IDLE_TIMEOUTS_S[6]
FIREWALL = layer("fw", 1, stateful=True)


def forward(flags: int = SYN, sport: int = 40000) -> bytes:
    """Return a packet of vm1 to vm2."""
    return tcp_frame(sport=sport, flags=flags)


def back(flags: int = ACK) -> bytes:
    """Return an answer of vm2."""
    return tcp_frame("vm2", "vm1", 80, 40000, flags)


def copied(frame: bytes) -> PacketIn:
    """Return the copy of a packet that the switch makes behind the verdicts."""
    return PacketIn(1, "closing", Punt.CLOSING, 1, 1, 101, 102, frame)


def begun(limit: int = 100) -> tuple[ControlCore, list[CachedEntry]]:
    """Return a core with one connection that a SYN has begun, and its entries."""
    core = ControlCore(compile_policy(snapshot(FIREWALL)), half_open_per_vport=limit)
    core.datapaths = {1: {}, 2: {}}
    return core, installed(core.packet_in(met(forward()), 0.0))


def idle(entry: CachedEntry, packets: int) -> FlowRemoved:
    """Return the news that an entry ran idle."""
    return FlowRemoved(1, entry.cookie, IDLE_TIMEOUT, packets, 60 * packets, 10)


def reply_of(entries: list[CachedEntry]) -> CachedEntry:
    """Return an entry of the way back."""
    return next(made for made in entries if _class(made) is EntryClass.REPLY)


def _class(made: CachedEntry) -> EntryClass | None:
    cookie = unpack(made.cookie)
    return cookie.entry_class if cookie else None


def close(core: ControlCore, now_s: float) -> list[Effect]:
    """Let both sides send a FIN, and the time pass until the entries go; return what follows."""
    assert core.packet_in(copied(forward(FIN)), now_s) == []
    assert core.packet_in(copied(back(FIN)), now_s) == []
    assert core.ageing.close_due(now_s + LINGER_S / 2) == []
    return core.ageing.close_due(now_s + LINGER_S)


def test_a_syn_has_short_timeouts_and_a_later_packet_long_ones() -> None:
    """M21: entries made for a SYN live for the short time; those of a connection met in its middle for the long one."""
    _, entries = begun()
    assert {made.idle_timeout_s for made in entries} == {HALF_OPEN_IDLE_TIMEOUT_S}
    core = make_core(FIREWALL)
    effects = core.packet_in(met(forward(ACK)), 0.0)
    assert {made.idle_timeout_s for made in installed(effects)} == {LONG_S}


@pytest.mark.parametrize("order", [1, -1])
def test_an_answered_connection_outlives_the_short_timeout(order: int) -> None:
    """M10: when the short timeout runs out, replies that were counted make the connection last, whoever tells first."""
    core, entries = begun()
    again: list[CachedEntry] = []
    for made in entries[::order]:
        again += installed(core.ageing.flow_removed(idle(made, 3), 10.0))
    assert {made.idle_timeout_s for made in again} == {LONG_S}
    assert {made.key for made in again} == {made.key for made in entries}
    assert not core.life.is_half_open(next(iter(core.flows)).id)


def test_an_unanswered_connection_ends_with_the_short_timeout() -> None:
    """M21: no reply counted, so the connection is gone with all entries, and counts no more."""
    core, entries = begun()
    sent = {made: int(_class(made) is EntryClass.FORWARD) for made in entries}
    effects = [effect for made in entries for effect in core.ageing.flow_removed(idle(made, sent[made]), 10.0)]
    assert any(isinstance(effect, Release) for effect in effects)
    assert len(core.flows) == 0 and not core.life.full(101)


def test_both_fins_close_and_one_does_not() -> None:
    """M19: a FIN of one side changes nothing however often it comes; the other side's takes all entries away."""
    core, entries = begun()
    for _ in range(3):
        core.packet_in(copied(forward(FIN)), 1.0)
    assert core.ageing.close_due(100.0) == [] and not core.life.busy
    core.packet_in(copied(back(FIN)), 100.0)
    released = core.ageing.close_due(100.0 + LINGER_S)
    assert {effect.entry for effect in released if isinstance(effect, Release)} == set(entries)


@pytest.mark.parametrize("frame", [forward(RST), back(RST)])
def test_one_reset_closes(frame: bytes) -> None:
    """M19: a RST of either side takes all entries away."""
    core, _ = begun()
    core.packet_in(copied(frame), 1.0)
    assert len(core.ageing.close_due(1.0 + LINGER_S)) == 4


def test_a_copy_of_no_known_connection_is_nothing() -> None:
    """M19: a FIN or RST that belongs to nothing, or is no TCP at all, leaves no trace."""
    core = make_core(FIREWALL)
    for frame in (forward(RST), b"", b"\0" * 60, forward(RST)[:40]):
        assert core.packet_in(copied(frame), 0.0) == []
    assert not core.life.busy and len(core.flows) == 0


def test_a_closed_connection_is_known_for_a_while() -> None:
    """M19: late FINs pass and leave no entry; when the time is over the connection is forgotten."""
    core, entries = begun()
    close(core, 1.0)
    assert core.ageing.flow_removed(FlowRemoved(1, entries[0].cookie, DELETE, 3, 180, 1), 1.6) == []
    for _ in range(2 * LATE_PKTS):
        effects = core.packet_in(met(back(FIN), "vm2"), 2.0)
        assert [type(effect) for effect in effects] == [Emit]
    assert len(core.flows) == 1
    assert core.ageing.close_due(1.0 + LINGER_S + CLOSED_S) == []
    assert len(core.flows) == 0 and not core.life.busy


def test_packets_that_end_nothing_open_it_again() -> None:
    """M19: after a RST that was not true the connection has its entry again with the third packet, and stays."""
    core, _ = begun()
    core.packet_in(copied(back(RST)), 1.0)
    core.ageing.close_due(1.0 + LINGER_S)
    for _ in range(LATE_PKTS - 1):
        assert not installed(core.packet_in(met(back(), "vm2"), 2.0))
    core.packet_in(met(back(), "vm2"), 2.0)
    assert installed(core.release(3.0))
    core.ageing.close_due(100.0)
    assert len(core.flows) == 1


def test_a_syn_on_closed_ports_begins_another_connection() -> None:
    """M19: ports that are used again at once are a new connection, half open."""
    core, entries = begun()
    close(core, 1.0)
    again = installed(core.packet_in(met(forward()), 2.0))
    assert len(again) == 4 and again[0].cookie != entries[0].cookie
    assert {made.idle_timeout_s for made in again} == {HALF_OPEN_IDLE_TIMEOUT_S}


def test_a_full_quota_drops_and_has_the_switch_drop() -> None:
    """M21: beyond its quota a vport's SYN is dropped and counted, and the switch is told once to drop for a second."""
    core, _ = begun(limit=1)
    first = core.packet_in(met(forward(sport=1)), 1.0)
    assert [type(effect) for effect in first] == [Choke, Choke]
    assert all(effect.entry.hard_timeout_s == CHOKE_S for effect in first if isinstance(effect, Choke))
    assert core.packet_in(met(forward(sport=2)), 1.5) == []
    assert core.packet_in(met(forward(sport=3)), 1.0 + CHOKE_S) != []
    cookie = Cookie(EntryClass.GUARD, vport=101, detail=Refusal.HALF_OPEN_LIMIT).pack()
    core.ageing.flow_removed(FlowRemoved(1, cookie, 1, 7, 420, 1), 3.0)
    assert core.tally.of_vport(101)["half-open-limit"] == 3 + 7
    assert len(core.packet_in(met(tcp_frame("vm2", "vm1", 1, 2), "vm2"), 1.5)) > 1
    assert installed(core.packet_in(met(forward(ACK, sport=9)), 1.5)), "only SYNs are limited"


@pytest.mark.parametrize("how", ["idle", "answer", "reset", "removed", "asked"])
def test_every_end_gives_the_quota_back(how: str) -> None:
    """M21: however a connection stops to be half open, its place is free again."""
    core, entries = begun(limit=1)
    assert core.life.full(101)
    flow = next(iter(core.flows))
    match how:
        case "idle":
            core.ageing.flow_removed(idle(reply_of(entries), 0), 10.0)
        case "answer":
            core.packet_in(met(back(), "vm2"), 1.0)
        case "reset":
            core.packet_in(copied(back(RST)), 1.0)
        case "removed":
            core.ageing.remove(flow)
        case "asked":
            (question,) = core.ageing.tick(100.0)
            assert isinstance(question, CountEntry)
            core.ageing.entry_counted(EntryCounted(question.cookie, 5), 100.0)
            assert len(core.flows) == 1
    assert not core.life.full(101)


def test_a_lost_half_open_connection_is_found_and_forgotten() -> None:
    """M21: when the switch has lost the entries without a word, asking after a minute tells, and nothing leaks."""
    core, _ = begun(limit=1)
    (question,) = core.ageing.tick(61.0)
    assert isinstance(question, CountEntry)
    core.ageing.entry_counted(EntryCounted(question.cookie, None), 61.0)
    assert len(core.flows) == 0 and not core.life.full(101)


def test_a_half_open_connection_is_taken_over_as_one() -> None:
    """M26: after a restart entries with the short timeout are wanted as they are, and count."""
    _, entries = begun()
    core = ControlCore(compile_policy(snapshot(FIREWALL)), half_open_per_vport=1)
    core.datapaths = {1: {}, 2: {}}
    found = [Found(e.cookie, e.segment, e.vport, e.direction, e.key, e.idle_timeout_s) for e in entries]
    assert adopt_flows(core, found, 0.0) == 1
    (flow,) = core.flows
    assert {made.idle_timeout_s for made in flow.entries()} == {HALF_OPEN_IDLE_TIMEOUT_S}
    assert core.life.full(101)

"""The life of TCP connections in the core: half open, established, closing, closed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ryu_apps.control.adoption import Found, adopt_flows
from ryu_apps.control.core import ControlCore
from ryu_apps.control.effects import Choke, CountEntry, Emit, Release
from ryu_apps.control.events import EntryCounted, FlowRemoved, PacketIn
from ryu_apps.control.expiry import DELETE, HARD_TIMEOUT, IDLE_TIMEOUT
from ryu_apps.control.life import CHOKE_S, CLOSED_S, LATE_PKTS, LINGER_S, Life
from ryu_apps.engine.policy import compile_policy
from ryu_apps.pipeline.cached import FIN_HARD_TIMEOUT_S, HALF_OPEN_IDLE_TIMEOUT_S, IDLE_TIMEOUTS_S, CachedEntry
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


def ended(entry: CachedEntry, reason: int = IDLE_TIMEOUT) -> FlowRemoved:
    """Return the news that an entry has gone by itself because a FIN has passed it."""
    return FlowRemoved(1, entry.cookie, reason, 3, 180, 2, FIN_HARD_TIMEOUT_S)


def close(core: ControlCore, entries: list[CachedEntry], now_s: float) -> None:
    """Let all entries go because both sides have sent a FIN; nothing follows for a switch."""
    for made in entries:
        assert core.ageing.flow_removed(ended(made), now_s) == []
    assert core.ageing.close_due(now_s + LINGER_S) == []


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


@pytest.mark.parametrize("order", [1, -1])
def test_entries_that_have_all_gone_after_their_fins_close_the_connection(order: int) -> None:
    """M19: when the switch has let all four entries go there is nothing left to remove."""
    core, entries = begun(limit=1)
    close(core, entries[::order], 1.0)
    (flow,) = core.flows
    assert core.life.is_closed(flow.id) and not core.life.full(101)
    assert core.tally.total["idle-timeout"] == 4


def test_one_direction_ends_nothing_else() -> None:
    """M19: the entries of one direction may go, time and again; the connection stays and the others are not touched."""
    core, entries = begun()
    way = [made for made in entries if _class(made) is EntryClass.FORWARD]
    for made in way * 3:
        assert core.ageing.flow_removed(ended(made), 1.0) == []
    assert core.ageing.close_due(100.0) == [] and not core.life.busy
    assert core.ageing.flow_removed(ended(reply_of(entries)), 100.0) == []
    released = core.ageing.close_due(100.0 + LINGER_S)
    assert {effect.entry for effect in released if isinstance(effect, Release)} == set(entries)


def test_what_an_ended_direction_gets_again_does_not_end_by_fin() -> None:
    """M19: a packet behind a pause of a half-closed connection is passed on, brings its entry back to stay, and all
    entries are removed when the other side has ended too."""
    core, entries = begun()
    core.packet_in(met(back(), "vm2"), 0.5)
    for made in entries:
        if _class(made) is EntryClass.FORWARD:
            core.ageing.flow_removed(ended(made), 2.0)
    effects = core.packet_in(met(forward(ACK)), 9.0)
    assert any(isinstance(effect, Emit) for effect in effects)
    again = installed(effects) + installed(core.release(9.5))
    assert [made.ends_by_fin for made in again if _class(made) is EntryClass.FORWARD] == [False]
    for made in entries:
        if _class(made) is EntryClass.REPLY:
            core.ageing.flow_removed(ended(made), 20.0)
    released = core.ageing.close_due(20.0 + LINGER_S)
    places = {(effect.entry.vport, effect.entry.direction) for effect in released if isinstance(effect, Release)}
    assert places == {(made.vport, made.direction) for made in entries}


def test_fins_that_the_host_forwards_close_too() -> None:
    """M19: where a FIN misses, no entry tells of it; the host has seen it itself."""
    core, entries = begun()
    core.packet_in(met(forward(FIN)), 1.0)
    assert not core.life.busy
    core.packet_in(met(back(FIN), "vm2"), 1.1)
    released = core.ageing.close_due(1.1 + LINGER_S)
    assert {effect.entry.key for effect in released if isinstance(effect, Release)} == {made.key for made in entries}


def test_many_closed_connections_are_dealt_with_piece_by_piece() -> None:
    """However many close at once, misses wait for few of them only."""
    core, _ = begun()
    number = 600
    for sport in range(number):
        core.packet_in(met(forward(sport=sport)), 1.0)
        core.packet_in(copied(forward(RST, sport=sport)), 1.0)
    pieces = []
    while core.life.overdue(2.0):
        pieces.append(len(core.ageing.close_due(2.0)))
    assert sum(pieces) == 4 * number and max(pieces) < 4 * number / 2


@st.composite
def _news(draw: st.DrawFn) -> list[tuple[int, int, int, float]]:
    """Draw which entries of which of three connections go, why, and how much later than the one before."""
    one = st.tuples(
        st.integers(0, 2), st.integers(0, 3), st.sampled_from([IDLE_TIMEOUT, IDLE_TIMEOUT, HARD_TIMEOUT, DELETE]),
        st.sampled_from([0.0, 0.0, 0.1, 1.0, 5.0]),
    )  # fmt: skip
    return draw(st.lists(one, max_size=30))


@given(_news(), st.booleans())
def test_the_fast_way_of_letting_go_equals_the_usual_one(
    news: list[tuple[int, int, int, float]], variant: bool
) -> None:
    """Whatever goes in whatever order: the same flows, the same counts, and the same entries removed."""
    sides = []
    for fast in (True, False):
        core, entries = begun()
        all_entries = [entries, *(installed(core.packet_in(met(forward(sport=port)), 0.0)) for port in (1, 2))]
        if variant:
            core.packet_in(met(tcp_frame(flags=ACK)[:15] + b"\x04" + tcp_frame(flags=ACK)[16:]), 0.0)
        now_s, seen = 1.0, []
        for number, place, reason, later_s in news:
            now_s += later_s
            event = ended(all_entries[number][place], reason)
            if not (fast and core.fast_path.letting_go.take(event.cookie, reason, now_s)):
                seen += core.ageing.flow_removed(event, now_s)
            seen += core.ageing.close_due(now_s)
        closed = [core.life.is_closed(flow.id) for flow in core.flows]
        sides.append((seen, sorted(flow.id for flow in core.flows), closed, core.tally.by_vport()))
    assert sides[0] == sides[1]


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
    close(core, entries, 1.0)
    assert core.ageing.flow_removed(FlowRemoved(1, entries[0].cookie, DELETE, 3, 180, 1), 1.6) == []
    for _ in range(2 * LATE_PKTS):
        effects = core.packet_in(met(back(FIN), "vm2"), 2.0)
        assert [type(effect) for effect in effects] == [Emit]
    assert len(core.flows) == 1
    assert core.ageing.close_due(1.0 + CLOSED_S) == []
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
    close(core, entries, 1.0)
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


def test_half_open_connections_are_looked_at_in_turn() -> None:
    """M21: those of one vport come oldest first and a piece at a time, so that all are looked at."""
    life = Life(100)
    for flow_id in range(1, 3001):
        life.began(flow_id, 101 + flow_id % 2)
    seen: list[int] = []
    while piece := life.half_open_at(101, seen[-1] if seen else 0, 400):
        assert len(piece) <= 400
        seen += piece
        for flow_id in piece[::2]:
            life.answered(flow_id)
    assert seen == list(range(2, 3001, 2))
    assert life.half_open_at(101, 0, 2000) == seen[1::2]


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

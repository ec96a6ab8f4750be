"""What comes of a flood goes soon unless it is answered; what others begin lasts as ever."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ryu_apps.control.adoption import Found, adopt_flows
from ryu_apps.control.aggressive_ageing import RECENT_S
from ryu_apps.control.core import ControlCore
from ryu_apps.control.effects import CountEntry
from ryu_apps.control.events import EntryCounted
from ryu_apps.control.expiry import IDLE_TIMEOUT
from ryu_apps.engine.policy import compile_policy
from ryu_apps.model.action import Allow
from ryu_apps.model.rules import Direction
from ryu_apps.pipeline.cached import (
    AGGRESSIVE_IDLE_TIMEOUT_S,
    DENY_IDLE_TIMEOUT_S,
    IDLE_TIMEOUTS_S,
    CachedEntry,
    is_tcp,
)
from ryu_apps.pipeline.cookie import is_reply
from tests.unit.control.test_core import NUMBER, installed, met, removal
from tests.unit.frames import frame_of
from tests.unit.policies import OUT, group, layer, rule, snapshot, tcp

FLOODER = NUMBER["vm1"], Direction.OUTBOUND
SOON_S = AGGRESSIVE_IDLE_TIMEOUT_S
ACK, SYN = "ack", "syn"


def core_with(*, slowed: bool, stateful: bool = True) -> ControlCore:
    """Return a core that lets UDP and TCP to port 80 pass, and may know vm1 as one that is slowed down."""
    rules = group(
        "fw", "all", OUT, rule("udp", Allow(), 1, ip_proto="udp"), rule("web", Allow(), 1, ip_proto="tcp", l4_dst="80")
    )
    core = ControlCore(compile_policy(snapshot(layer("fw", 1, stateful=stateful), rules)))
    core.datapaths = {1: {}, 2: {}}
    if slowed:
        assert core.aggressive.follow({1: frozenset({FLOODER})}) == {FLOODER}
    return core


def question(sport: int, sender: str = "vm1", target: str = "vm2", dport: int = 53) -> bytes:
    """Return a datagram."""
    return frame_of(tcp(sender, target, sport=sport, dport=dport, ip_proto="udp")).ljust(60, b"\0")


def segment(sport: int, flags: int = 0x02, dport: int = 80) -> bytes:
    """Return a TCP packet of vm1 to vm2, a SYN unless its flags are given."""
    frame = bytearray(frame_of(tcp(sport=sport, dport=dport)))
    frame[47] = flags
    return bytes(frame)


def acknowledgement(sport: int) -> bytes:
    """Return a TCP packet that begins nothing."""
    return segment(sport, flags=0x10)


def by_fast_path(core: ControlCore, frame: bytes) -> list[CachedEntry]:
    """Return the entries of the connection that this packet of vm1 begins, if the fast path knows its kind."""
    event = met(frame)
    place = core.fast_path.place(event)
    found = core.fast_path.meet(place, frame, 0, len(frame), 0.0) if place else None
    if found is None:
        return []
    core.release(1.0)
    answer, flow_id, *_ = found
    flow = core.flows.get(flow_id)
    assert flow and {leg.entry.idle_timeout_s for leg in answer.legs} == {e.idle_timeout_s for e in flow.entries()}
    return list(flow.entries())


def begun(core: ControlCore, frame: bytes, now_s: float, vport: str = "vm1") -> list[CachedEntry]:
    """Return the entries of a connection that this packet begins."""
    return installed(core.packet_in(met(frame, vport), now_s)) + installed(core.release(now_s + 1))


def asking(entries: list[CachedEntry]) -> set[int]:
    """Return the idle times of the entries of the first packet's way."""
    return {made.idle_timeout_s for made in entries if not is_reply(made.cookie)}


@pytest.mark.parametrize("frame", [question, segment, acknowledgement])
@pytest.mark.parametrize("stateful", [True, False])
def test_what_a_flooder_begins_goes_soon(frame: Callable[[int], bytes], stateful: bool) -> None:
    """S07: whatever a slowed vport begins has the short time, by the usual path and by the fast one."""
    core = core_with(slowed=True, stateful=stateful)
    assert asking(begun(core, frame(1), 0.0)) == {SOON_S}
    again = by_fast_path(core, frame(2))
    # It knows only what layers with state decide.
    assert asking(again) == ({SOON_S} if stateful else set())


def test_what_it_is_denied_goes_soon() -> None:
    """S07: a refusal stays for a shorter time too, since it tells packets apart like any entry."""
    assert asking(begun(core_with(slowed=False), segment(1, dport=81), 0.0)) == {DENY_IDLE_TIMEOUT_S}
    assert asking(begun(core_with(slowed=True), segment(1, dport=81), 0.0)) == {SOON_S}


def test_others_and_the_other_direction_last_as_ever() -> None:
    """S07: neither what another vport begins nor what others begin towards the flooder is shortened."""
    core = core_with(slowed=True)
    usual = asking(begun(core_with(slowed=False), question(1), 0.0))
    assert SOON_S not in usual
    assert asking(begun(core, question(1, "vm2", "vm1"), 0.0, "vm2")) == usual


def test_when_the_flood_is_over_its_sender_is_as_others() -> None:
    """S07: kinds of packets that were met in the flood are forgotten with it, and those from before when it begins."""
    core = core_with(slowed=False)
    usual = asking(begun(core, question(1), 0.0))
    assert SOON_S not in usual and asking(by_fast_path(core, question(2))) == usual
    core.aggressive.follow({1: frozenset({FLOODER})})
    assert by_fast_path(core, question(3)) == []
    assert asking(begun(core, question(4), 0.0)) == asking(by_fast_path(core, question(5))) == {SOON_S}
    assert core.aggressive.follow({}) == frozenset()
    assert by_fast_path(core, question(6)) == []
    assert asking(begun(core, question(7), 0.0)) == usual


@pytest.mark.parametrize("answers", [0, 1])
def test_an_answer_makes_udp_last(answers: int) -> None:
    """M09, M10: when the short time has run out, what was answered gets its own, and another one ends."""
    core = core_with(slowed=True)
    first, *_ = begun(core, question(1), 0.0)
    (asked,) = core.ageing.flow_removed(removal(first, IDLE_TIMEOUT), 10.0)
    assert isinstance(asked, CountEntry) and is_reply(asked.cookie)
    effects = core.ageing.entry_counted(EntryCounted(asked.cookie, answers), 10.0)
    assert len(core.flows) == answers and asking(installed(effects)) == ({IDLE_TIMEOUTS_S[17]} if answers else set())


@pytest.mark.parametrize("flags", [0x02, 0x10], ids=[SYN, ACK])
@pytest.mark.parametrize("answers", [0, 1])
def test_an_answer_makes_tcp_last(flags: int, answers: int) -> None:
    """M18: all entries of an unanswered one have the short time, and that of its answers tells if there were any."""
    core = core_with(slowed=True)
    entries = begun(core, segment(1, flags), 0.0)
    assert {made.idle_timeout_s for made in entries} == {SOON_S}
    first, replies = entries[0], next(made for made in entries if is_reply(made.cookie))
    assert not core.ageing.flow_removed(removal(first, IDLE_TIMEOUT), 10.0)
    effects = core.ageing.flow_removed(removal(replies, IDLE_TIMEOUT)._replace(packets=answers), 10.0)
    assert len(core.flows) == answers
    assert {made.idle_timeout_s for made in installed(effects)} == ({IDLE_TIMEOUTS_S[6]} if answers else set())


def hastened(core: ControlCore, now_s: float) -> list[CachedEntry]:
    """Return the entries that what the flooder began lately gets when it is slowed down."""
    return [made for part in core.aggressive.hasten(frozenset({FLOODER}), now_s) for made in installed(part)]


def test_what_it_had_just_begun_goes_soon_as_well() -> None:
    """S07: when a flood is found out, its connections of the last moment get the short time: they and no others."""
    core = core_with(slowed=False)
    old = begun(core, question(1), 0.0)
    new = begun(core, question(2), 10.0) + begun(core, segment(3), 10.0) + begun(core, segment(4, dport=81), 10.0)
    begun(core, question(5, "vm2", "vm1"), 10.0, "vm2")
    core.aggressive.follow({1: frozenset({FLOODER})})
    begun(core, question(6), 10.0)

    shortened = hastened(core, 10.5)

    same = {(m.vport, m.direction, m.key) for m in new if not is_reply(m.cookie) or is_tcp(m.key)}
    assert {(made.vport, made.direction, made.key) for made in shortened} == same
    assert {made.idle_timeout_s for made in shortened} == {SOON_S} and all(m.key != old[0].key for m in shortened)
    assert hastened(core, 10.6) == []


def test_many_are_shortened_in_parts() -> None:
    """S07: a switch is given few entries at once, and looking for them pauses; all that is recent is found."""
    core = core_with(slowed=False)
    for sport in range(1, 1001):
        begun(core, question(sport), 0.0)
    core.aggressive.follow({1: frozenset({FLOODER})})
    parts = [installed(part) for part in core.aggressive.hasten(frozenset({FLOODER}), RECENT_S)]
    assert sum(map(len, parts)) == 2000 and max(map(len, parts)) <= 2 * 20
    assert parts[:3] == [[], [], []]


def test_an_answered_or_ended_tcp_connection_is_left_alone() -> None:
    """M18: what is no longer half open keeps its entries when its sender turns out to flood."""
    core = core_with(slowed=False)
    begun(core, segment(1), 0.0)
    (flow,) = core.flows
    core.life.answered(flow.id)
    core.aggressive.follow({1: frozenset({FLOODER})})
    assert hastened(core, 1.0) == []


def test_a_restart_takes_it_over_as_it_is() -> None:
    """M26: entries with the short time are wanted as they are."""
    entries = begun(core_with(slowed=True), question(1), 0.0)
    core = core_with(slowed=False)
    found = [Found(e.cookie, e.segment, e.vport, e.direction, e.key, e.idle_timeout_s) for e in entries]
    assert adopt_flows(core, found, 0.0) == 1
    (flow,) = core.flows
    assert set(flow.entries()) == set(entries)

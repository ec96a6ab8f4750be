"""What comes of a flood goes soon unless it is answered; what others begin lasts as ever."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from ryu_apps.control.adoption import Found, adopt_flows
from ryu_apps.control.aggressive_ageing import RECENT_S
from ryu_apps.control.core import ControlCore
from ryu_apps.control.effects import CountEntry
from ryu_apps.control.events import EntryCounted
from ryu_apps.control.expiry import EVICTION, IDLE_TIMEOUT
from ryu_apps.control.floods import Floods
from ryu_apps.engine.policy import compile_policy
from ryu_apps.model.action import Allow
from ryu_apps.model.policy import Change
from ryu_apps.model.rules import Direction
from ryu_apps.pipeline.cached import (
    AGGRESSIVE_IDLE_TIMEOUT_S,
    DENY_IDLE_TIMEOUT_S,
    IDLE_TIMEOUTS_S,
    UNANSWERED_UDP_IDLE_TIMEOUT_S,
    CachedEntry,
)
from ryu_apps.pipeline.cookie import Punt, is_reply
from ryu_apps.pipeline.meters import miss_meter_numbers
from tests.unit.control.nic_world import World
from tests.unit.control.test_core import NUMBER, frame, installed, met, removal
from tests.unit.control.test_offload import limited
from tests.unit.frames import frame_of
from tests.unit.policies import IN, OUT, group, layer, rule, snapshot, tcp, vport

FLOODER = NUMBER["vm1"], Direction.OUTBOUND
SOON_S = AGGRESSIVE_IDLE_TIMEOUT_S
ACK, SYN = "ack", "syn"


def core_with(*, slowed: bool, stateful: bool = True) -> ControlCore:
    """Return a core that lets UDP and TCP to port 80 pass, and may know vm1 as one that is slowed down."""
    rules = group(
        "fw", "all", OUT, rule("udp", Allow(), 1, ip_proto="udp"), rule("web", Allow(), 1, ip_proto="tcp", l4_dst="80")
    )
    core = ControlCore(compile_policy(snapshot(layer("fw", 1, stateful=stateful, out=False), rules)))
    core.datapaths = {1: {}, 2: {}}
    if slowed:
        assert core.aggressive.follow(frozenset({FLOODER})) == {FLOODER}
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
    (denied,) = begun(core_with(slowed=False), segment(1, dport=81), 0.0)
    assert (denied.allow, denied.idle_timeout_s) == (False, DENY_IDLE_TIMEOUT_S)
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
    core.aggressive.follow(frozenset({FLOODER}))
    assert by_fast_path(core, question(3)) == []
    assert asking(begun(core, question(4), 0.0)) == asking(by_fast_path(core, question(5))) == {SOON_S}
    assert core.aggressive.follow(frozenset()) == frozenset()
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


def test_an_answer_is_not_forgotten_because_the_host_saw_a_packet() -> None:
    """M18: the entry of the answers has counted some and comes back since the host has just seen the connection in use;
    when it runs idle again without any, the connection stays."""
    core = core_with(slowed=True)
    entries = begun(core, segment(1), 0.0)
    replies = next(made for made in entries if is_reply(made.cookie))
    core.ageing.flow_removed(removal(entries[0], IDLE_TIMEOUT), 2.2)
    core.packet_in(met(acknowledgement(1)), 2.5)
    assert is_reply(installed(core.ageing.flow_removed(removal(replies, IDLE_TIMEOUT), 3.2))[-1].cookie)
    effects = core.ageing.flow_removed(removal(replies, IDLE_TIMEOUT)._replace(packets=0), 6.2)
    assert {made.idle_timeout_s for made in installed(effects)} == {IDLE_TIMEOUTS_S[6]} and len(core.flows) == 1


def test_an_answered_one_that_a_full_nic_lacks_lasts_as_well() -> None:
    """M12, M10: an answered connection ages by its lasting time in the host too, if its NIC has no room then."""
    rules = group("fw", "in", IN, rule("udp", Allow(), 1, ip_proto="udp"))
    layers = layer("fw", 1, stateful=True, into=False), rules, limited(outbound_entries=9, inbound_entries=1)
    world = World(snapshot(*layers))
    core = world.core
    core.aggressive.follow(frozenset({FLOODER}))
    world.send("vm1", OUT, tcp(ip_proto="udp"))
    world.pause()
    present = [made for cache in world.nics.values() for made in cache.values()]
    assert SOON_S in asking(present) and len(present) < 4
    now_s = world.now_s + 10
    forward = next(made for made in present if not is_reply(made.cookie))
    (asked,) = core.ageing.flow_removed(removal(forward, IDLE_TIMEOUT), now_s)
    assert isinstance(asked, CountEntry)
    core.ageing.entry_counted(EntryCounted(asked.cookie, 5), now_s)
    for made in present:
        core.ageing.flow_removed(removal(made, EVICTION), now_s)
    for later_s in range(1, UNANSWERED_UDP_IDLE_TIMEOUT_S):
        core.ageing.tick(now_s + later_s)
    assert len(core.flows) == 1


def hastened(core: ControlCore, now_s: float) -> list[CachedEntry]:
    """Return the entries that what the flooder began lately gets when it is slowed down."""
    list(core.aggressive.look(frozenset({FLOODER}), now_s))
    return [made for part in core.aggressive.hasten() for made in installed(part)]


def test_what_it_had_just_begun_goes_soon_as_well() -> None:
    """S07: when a flood is found out, its connections of the last moment get the short time: they and no others.

    TCP that may pass keeps its entries, with which a switch would forget a FIN.
    """
    core = core_with(slowed=False)
    begun(core, question(1), 0.0)
    new = begun(core, question(2), 10.0) + begun(core, segment(4, dport=81), 10.0)
    begun(core, segment(3), 10.0)
    begun(core, acknowledgement(7), 10.0)
    begun(core, question(5, "vm2", "vm1"), 10.0, "vm2")
    core.aggressive.follow(frozenset({FLOODER}))
    begun(core, question(6), 10.0)

    shortened = hastened(core, 10.5)

    same = {(made.vport, made.direction, made.key) for made in new if not is_reply(made.cookie)}
    assert {(made.vport, made.direction, made.key) for made in shortened} == same
    assert {made.idle_timeout_s for made in shortened} == {SOON_S}
    assert hastened(core, 10.6) == []


def test_what_was_answered_is_not_shortened_again() -> None:
    """M10: UDP whose answer is known keeps its lasting times when its sender turns out to flood."""
    core = core_with(slowed=False)
    first, *_ = begun(core, question(1), 0.0)
    (asked,) = core.ageing.flow_removed(removal(first, IDLE_TIMEOUT), 1.0)
    assert isinstance(asked, CountEntry)
    core.ageing.entry_counted(EntryCounted(asked.cookie, 1), 1.0)
    core.aggressive.follow(frozenset({FLOODER}))
    assert hastened(core, 1.5) == []


def test_what_the_host_keeps_to_itself_gets_no_entries() -> None:
    """M22: a connection of which only a fragment has come has no entries, and gets none."""
    core = core_with(slowed=False)
    fragment = frame("vm1", "vm2", 17, bytes(8) + bytes(1000), 1, 0x2000)
    core.packet_in(met(fragment, punt=Punt.FRAGMENT), 0.0)
    assert len(core.flows) == 1
    core.aggressive.follow(frozenset({FLOODER}))
    assert hastened(core, 0.5) == []


@pytest.mark.parametrize(("flows", "most"), [(100, 8), (1000, 20), (4000, 32)])
def test_many_are_shortened_in_parts(flows: int, most: int) -> None:
    """S07: a switch is given few entries at once, and looking for them pauses; all that is recent is found."""
    core = core_with(slowed=False)
    for sport in range(1, flows + 1):
        begun(core, question(sport), 0.0)
    core.aggressive.follow(frozenset({FLOODER}))
    assert len(list(core.aggressive.look(frozenset({FLOODER}), RECENT_S))) == flows // 256
    parts = [installed(part) for part in core.aggressive.hasten()]
    assert sum(map(len, parts)) == 2 * flows and max(map(len, parts)) == 2 * most


def test_a_second_flood_is_hastened_behind_the_first() -> None:
    """S07: what is found while something is being hastened is hastened too, though it is not recent any more then."""
    core = core_with(slowed=False)
    for sport in range(1, 101):
        begun(core, question(sport), 0.0)
        begun(core, question(sport, "vm2", "vm3"), 0.0, "vm2")
    list(core.aggressive.look(frozenset({FLOODER}), 1.0))
    parts = core.aggressive.hasten()
    first = installed(next(parts))
    list(core.aggressive.look(frozenset({(NUMBER["vm2"], Direction.OUTBOUND)}), 1.0))
    senders = [made.vport for made in first + [made for part in parts for made in installed(part)]]
    assert senders.count(NUMBER["vm1"]) == 100 and senders.count(NUMBER["vm3"]) == 100


def left_by(entries: list[CachedEntry]) -> list[Found]:
    """Return entries as a switch tells of them."""
    return [Found(e.cookie, e.segment, e.vport, e.direction, e.key, e.idle_timeout_s) for e in entries]


@pytest.mark.parametrize("frame", [question(1), segment(1), acknowledgement(1), segment(1, dport=81)])
def test_a_restart_takes_it_over_as_it_is(frame: bytes) -> None:
    """M26: entries with the short time are wanted as they are, by a flow that is what it was."""
    before = core_with(slowed=True)
    entries = begun(before, frame, 0.0)
    core = core_with(slowed=False)
    assert adopt_flows(core, left_by(entries), 0.0) == 1
    (had,), (flow,) = before.flows, core.flows
    assert set(flow.entries()) == set(entries)
    assert (flow.aggressive, flow.half_open and flow.plan.allow) == (True, had.half_open and had.plan.allow)
    assert core.life.is_half_open(flow.id) == before.life.is_half_open(had.id)


def test_a_rule_with_a_time_as_short_makes_no_flood() -> None:
    """M26: after a restart a connection whose rule says 2 s is an ordinary one."""
    rules = group("fw", "all", OUT, rule("web", Allow(), 1, SOON_S, ip_proto="tcp"))
    policy = compile_policy(snapshot(layer("fw", 1, stateful=True), rules))
    made = ControlCore(policy), ControlCore(policy)
    for core in made:
        core.datapaths = {1: {}, 2: {}}
    entries = begun(made[0], acknowledgement(1), 0.0)
    adopt_flows(made[1], left_by(entries), 0.0)
    (flow,) = made[1].flows
    assert not flow.aggressive and not flow.half_open and set(flow.entries()) == set(entries)


def test_who_is_slowed_down_is_told_by_vport_and_direction() -> None:
    """S07: the meter of what a VM sends stands for that alone, and a vport that is gone for nobody."""
    limited_vm = replace(vport("vm1", "h1", 1), miss_rate_pps=100)
    made = snapshot().changed([Change(kind="vports", key="vm1", value=limited_vm)])
    policy, floods = compile_policy(made), Floods()
    outbound, inbound = miss_meter_numbers(made.vports["vm1"])
    configs = floods.meters(policy)[1].configs
    assert floods.askers(policy) == frozenset()
    for number, direction in ((outbound, Direction.OUTBOUND), (inbound, Direction.INBOUND)):
        floods = Floods()
        for dropped, now_s in ((0, 1.0), (100_000, 2.0)):
            floods.counted(1, configs, {number: dropped}, {}, now_s)
        assert floods.askers(policy) == {(made.vports["vm1"].number, direction)}
        gone = compile_policy(made.changed([Change(kind="vports", key="vm1", value=None)]))
        assert floods.askers(gone) == frozenset()


def test_kinds_of_the_other_direction_are_kept() -> None:
    """S07: what comes for a flooder is known by the fast path as before."""
    core = core_with(slowed=False)
    begun(core, question(1), 0.0)
    core.aggressive.follow(frozenset({(FLOODER[0], Direction.INBOUND)}))
    assert by_fast_path(core, question(2))

"""What becomes of TCP connection attempts beyond a vport's quota of half-open connections."""

from __future__ import annotations

from dataclasses import replace

from ryu_apps.control.core import ControlCore
from ryu_apps.control.crowding import HOPELESS_S, WAITING_BYTES, WAITING_OF_QUOTA, WAITING_S
from ryu_apps.control.effects import Choke, Effect, Emit
from ryu_apps.control.events import FlowRemoved
from ryu_apps.control.expiry import IDLE_TIMEOUT
from ryu_apps.control.life import CHOKE_S
from ryu_apps.engine.policy import compile_policy
from ryu_apps.pipeline.cached import FIN_HARD_TIMEOUT_S
from tests.unit.control.test_core import installed, met, tcp_frame
from tests.unit.policies import layer, snapshot

QUOTA = 40
ROOM = QUOTA // WAITING_OF_QUOTA
VM1 = 101


def full() -> ControlCore:
    """Return a core in which vm1 has as many half-open connections as it may."""
    core = ControlCore(compile_policy(snapshot(layer("fw", 1, stateful=True))), half_open_per_vport=QUOTA)
    core.datapaths = {1: {}, 2: {}}
    for sport in range(QUOTA):
        assert installed(attempt(core, sport, 0.0))
    return core


def attempt(core: ControlCore, sport: int, now_s: float) -> list[Effect]:
    """Return what follows from a SYN of vm1 from one of its ports."""
    return core.packet_in(met(tcp_frame(sport=1024 + sport, flags=2)), now_s)


def answer(core: ControlCore, count: int) -> None:
    """Take some connections for answered."""
    for flow_id in core.life.half_open_at(VM1, 0, count):
        core.life.answered(flow_id)


def admit(core: ControlCore, now_s: float, most: int = 1000) -> list[list[Effect]]:
    """Return what follows from each attempt for which a place is free by then."""
    return [core.packet_in(event, now_s, again=True) for event in core.crowding.due(now_s, most)]


def refused(core: ControlCore) -> int:
    """Return how many attempts of vm1 were dropped."""
    return core.tally.of_vport(VM1).get("half-open-limit", 0)


def test_attempts_beyond_the_quota_begin_when_places_come_free() -> None:
    """M21: nothing is lost of a crowd whose answers follow it, and no more are half open at any time than may be."""
    core = full()
    misses = core.tally.total["misses"]
    for sport in range(QUOTA, QUOTA + ROOM):
        assert attempt(core, sport, 1.0) == []
    assert admit(core, 1.1) == [] and len(core.flows) == QUOTA
    answer(core, 3)
    begun = admit(core, 1.2)
    assert len(begun) == 3 and core.life.full(VM1)
    for effects in begun:
        assert len(installed(effects)) == 4 and any(isinstance(effect, Emit) for effect in effects)
    answer(core, ROOM)
    assert len(admit(core, 1.3)) == ROOM - 3
    assert not core.crowding and refused(core) == 0
    assert core.tally.total["misses"] == misses + ROOM


def test_a_closed_connection_makes_room_for_an_attempt_that_waits() -> None:
    """M19 M21: entries that go after their FINs give the place back as an answer does."""
    core = full()
    flow = next(iter(core.flows))
    attempt(core, QUOTA, 1.0)
    for made in flow.entries():
        core.ageing.flow_removed(FlowRemoved(1, made.cookie, IDLE_TIMEOUT, 3, 180, 2, FIN_HARD_TIMEOUT_S), 1.1)
    assert len(admit(core, 1.2)) == 1


def test_attempts_are_admitted_some_at_once() -> None:
    """M21: a crowd that waits does not make others' misses wait behind all of it."""
    core = full()
    for sport in range(QUOTA, QUOTA + ROOM):
        attempt(core, sport, 1.0)
    answer(core, ROOM)
    assert len(admit(core, 1.1, 4)) == 4
    assert len(admit(core, 1.1, 4)) == 4


def test_an_attempt_waits_less_than_its_sender_does() -> None:
    """M21: what has waited for too long is dropped and counted, even where a place is free at last."""
    core = full()
    attempt(core, QUOTA, 1.0)
    answer(core, 1)
    assert admit(core, 1.0 + WAITING_S + 0.01) == []
    assert not core.crowding and refused(core) == 1


def test_the_waiting_room_is_small_and_a_full_one_is_no_reason_to_drop_for_a_second() -> None:
    """M21: beyond the room attempts are dropped one by one while answers may still come, then by the switch."""
    core = full()
    for sport in range(QUOTA, QUOTA + ROOM):
        attempt(core, sport, 1.0)
    assert attempt(core, 900, 1.0 + HOPELESS_S / 2) == []
    assert len(core.crowding) == ROOM and refused(core) == 1
    effects = attempt(core, 901, 1.0 + HOPELESS_S)
    assert effects and all(isinstance(effect, Choke) for effect in effects)


def test_a_flood_that_goes_on_is_dropped_at_once() -> None:
    """M21: when a second of dropping is over and the quota as full as before, nothing waits and the next begins."""
    core = full()
    for sport in range(QUOTA, QUOTA + ROOM):
        attempt(core, sport, 1.0)
    assert attempt(core, 900, 1.0 + HOPELESS_S)
    list(core.crowding.due(2.0, 100))
    assert not core.crowding
    again = attempt(core, 901, 1.0 + HOPELESS_S + CHOKE_S)
    assert again and all(isinstance(effect, Choke) for effect in again)
    assert not core.crowding


def test_a_long_frame_does_not_wait() -> None:
    """M21: what waits is bounded in bytes as well."""
    core = full()
    long = tcp_frame(sport=1, flags=2) + bytes(WAITING_BYTES)
    assert all(isinstance(effect, Choke) for effect in core.packet_in(met(long), 1.0))
    assert not core.crowding and refused(core) == 1


def test_what_waits_is_no_other_vports() -> None:
    """M15: attempts of a vport that is gone are not decided for the one that has its number now."""
    core = full()
    attempt(core, QUOTA, 1.0)
    core.policy = core.policy
    assert len(core.crowding) == 1, "nothing has changed"
    core.policy = compile_policy(replace(core.policy.snapshot, vports=core.policy.snapshot.vports.delete("vm1")))
    assert not core.crowding

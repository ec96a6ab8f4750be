"""Reading the meters of misses where one of two switches is silent: the other one and the statistics go on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import eventlet
import pytest

from ryu_apps.control.core import ControlCore
from ryu_apps.engine.policy import compile_policy
from ryu_apps.model.policy import Snapshot
from ryu_apps.southbound import counting
from ryu_apps.southbound.counting import Counting
from ryu_apps.southbound.flood_watch import FloodWatch
from tests.unit import policies
from tests.unit.southbound.loop import TIMEOUT_S, wait_until
from tests.unit.southbound.two_switches import OTHER, SILENT, TwoSwitches, two_switches

METER_COUNTS = 9
AN_HOUR_S = 3600.0


@dataclass
class Watched:
    """Two switches whose meters are read, and who asks for statistics."""

    switches: TwoSwitches
    counting: Counting


@pytest.fixture
def watched() -> Iterator[Watched]:
    """Return two switches with vports whose meters are read."""
    core = ControlCore(compile_policy(Snapshot().changed(policies.network())))
    with two_switches(METER_COUNTS) as switches:
        for dpid in (SILENT, OTHER):
            core.connected(dpid, {"p1": 1})
        counting = Counting(core, switches.links, time.monotonic)
        switches.begin(FloodWatch(core, switches.links, counting, time.monotonic).watch)
        switches.wait_looks()
        yield Watched(switches, counting)


def test_a_silent_switch_delays_no_look_at_another(watched: Watched) -> None:
    """S07, M21: while one switch is waited for the others are looked at as often as ever, and it only once."""
    watched.switches.fall_silent()
    watched.switches.wait_looks_at_the_other()


def test_statistics_wait_for_no_look_at_a_silent_switch(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """M21: statistics that are fresh enough are told while a switch is waited for, however long."""
    monkeypatch.setattr(counting, "SOON_S", AN_HOUR_S)
    assert watched.counting.statistics(0).unanswered == ()
    watched.switches.fall_silent()
    assert watched.switches.is_looking()
    with eventlet.Timeout(TIMEOUT_S):
        watched.counting.statistics(AN_HOUR_S)
    assert watched.switches.is_looking()


def test_floods_are_slowed_down_while_statistics_wait(watched: Watched) -> None:
    """S07, M21: while a round of statistics waits for a silent switch the others are looked at, and tell their counts;
    the round ends by its own time-out and names who was silent."""
    watched.switches.fall_silent()
    asking = eventlet.spawn(watched.counting.statistics, 0)
    before = watched.switches.looks[OTHER]
    # One look is of the round itself, and one may have been under way.
    wait_until(lambda: watched.switches.looks[OTHER] > before + 4, "looks at the other switch")
    assert not asking.dead
    assert asking.wait().unanswered == (SILENT,)

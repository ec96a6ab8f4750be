"""Reading what limited NICs count where one of two switches is silent: the other one's idle entries are known."""

from __future__ import annotations

import time

import pytest

from ryu_apps.southbound import nic_watch
from tests.unit.control.nic_world import World
from tests.unit.control.test_offload import limited
from tests.unit.policies import OUT, layer, snapshot, tcp
from tests.unit.southbound.two_switches import OTHER, SILENT, two_switches

FLOW_COUNTS = 1


def test_a_silent_switch_delays_no_look_at_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """M11: while one switch is waited for the other one's caches are counted as often as ever."""
    monkeypatch.setattr(nic_watch, "POLL_S", 0.1)
    room = [limited(name, outbound_entries=4, inbound_entries=4) for name in ("h1", "h2")]
    world = World(snapshot(layer("a", 1, stateful=True), *room))
    for port in (1, 2):
        world.send("vm1", OUT, tcp(sport=port, target="vm3"))
        world.pause()
    assert {question.dpid for question in world.core.nic_caches.questions()} == {SILENT, OTHER}
    with two_switches(FLOW_COUNTS) as switches:
        switches.begin(nic_watch.watch, world.core, switches.links, time.monotonic)
        switches.wait_looks()
        switches.fall_silent()
        switches.wait_looks_at_the_other()

"""A datapath whose bring-up had to wait for a change under way is brought to what is true after the wait."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import eventlet
import pytest
from ryu.lib import hub

from ryu_apps.control.core import ControlCore
from ryu_apps.engine.policy import compile_policy, recompile
from ryu_apps.model.policy import Change, Snapshot
from ryu_apps.southbound.bringup import BringUp
from ryu_apps.southbound.link import Link
from tests.ovs.harness.switch import OpenVSwitch
from tests.unit import policies
from tests.unit.southbound.loop import Loop, running, wait_until


@dataclass
class Waiting:
    """A bring-up in a green thread that waits for the lock, which the test holds."""

    ovs: OpenVSwitch
    loop: Loop
    core: ControlCore
    bringup: BringUp
    lock: hub.BoundedSemaphore
    link: Link

    def change(self, *changes: Change) -> None:
        """Change the policy as whoever holds the lock does."""
        self.core.policy = recompile(self.core.policy, self.core.policy.snapshot.changed(changes), changes)

    def go_on(self) -> None:
        """Let go of the lock, and return when nobody holds or wants it."""
        self.lock.release()
        wait_until(lambda: self.lock.balance == 1, "the bring-up to end")

    def in_ports(self) -> set[str]:
        """Return the ports whose frames the switch lets in."""
        found = self.ovs.dump_flows("nic", 0)
        return {entry.matches["in_port"] for entry in found if "in_port" in entry.matches}


@pytest.fixture
def waiting(ovs: OpenVSwitch) -> Iterator[Waiting]:
    """Return a bring-up that waits, of a switch with the ports of two of three VFs that was ready before."""
    ovs.add_bridge("nic", 1, {"h1-vf1": 1, "h1-vf2": 2})
    network = [change for change in policies.network() if change.key not in ("h2", "vm2", "vm3")]
    core = ControlCore(compile_policy(Snapshot().changed(network)))
    with running() as loop:
        ovs.set_controller("nic", loop.port)
        lock = hub.BoundedSemaphore(1)
        bringup = BringUp(core, lock, time.monotonic, loop.links.get)
        link = wait_until(lambda: loop.links.get(1), "the switch")
        assert link is not None
        bringup.run(link)
        assert bringup.agreements[1].state == "ready"
        lock.acquire()
        eventlet.spawn(bringup.run, link)
        wait_until(lambda: lock.balance < 0, "the bring-up to wait for the lock")
        yield Waiting(ovs, loop, core, bringup, lock, link)


def _vport(number: int) -> Change:
    return Change(kind="vports", key=f"vm{number}", value=policies.vport(f"vm{number}", "h1", number))


def test_policy_changed_meanwhile_is_what_it_brings(waiting: Waiting) -> None:
    """M26: a vport put and one deleted while a bring-up waits are there and gone in the switch."""
    assert waiting.in_ports() == {"1"}
    waiting.change(_vport(2), Change(kind="vports", key="vm1", value=None))

    waiting.go_on()

    assert waiting.in_ports() == {"2"}
    assert waiting.bringup.agreements[1].state == "ready"


def test_port_that_came_meanwhile_is_used(waiting: Waiting) -> None:
    """M26: the port of a vport that appears while a bring-up waits gets its entries, one that vanishes none."""
    waiting.ovs.add_port("nic", "h1-vf3", 3)
    waiting.ovs.delete_port("nic", "h1-vf1")
    wait_until(lambda: {"h1-vf2", "h1-vf3", "nic"} == set(waiting.link.known_ports()), "the ports to be told")
    waiting.change(_vport(3))

    waiting.go_on()

    assert waiting.in_ports() == {"3"}
    assert set(waiting.core.datapaths[1]) == {"h1-vf2", "h1-vf3", "nic"}


def test_connection_that_ended_meanwhile_is_not_taken_for_one_that_is_up(waiting: Waiting) -> None:
    """M26: when the connection was lost during the wait the datapath stays away, and no failure is told of it."""
    waiting.ovs.vsctl("del-controller", "nic")
    wait_until(lambda: waiting.loop.links.get(1) is None, "the connection to end")
    waiting.core.disconnected(1)
    waiting.bringup.agreements.pop(1)

    waiting.go_on()

    assert not waiting.core.datapaths
    assert waiting.bringup.agreements == {}

"""A refused change whose undoing the store cannot take: nothing else is accepted until it is kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import eventlet
import pytest
from ryu.base.app_manager import SERVICE_BRICKS, AppManager
from ryu.controller import controller
from ryu.controller.ofp_handler import OFPHandler

from ryu_apps.control.core import ControlCore
from ryu_apps.engine.policy import compile_policy
from ryu_apps.model.action import Deny
from ryu_apps.model.errors import SwitchRefused
from ryu_apps.model.policy import Change, Snapshot
from ryu_apps.model.rights import ALL_RIGHTS
from ryu_apps.model.rules import Direction
from ryu_apps.pipeline.tables import NUMBER
from ryu_apps.southbound.service import SwitchService
from ryu_apps.store.errors import StoreError
from ryu_apps.store.keeper import StoreKeeper
from tests.ovs.harness.switch import OpenVSwitch
from tests.unit import policies
from tests.unit.southbound.loop import wait_until

PORTS = {"h1-vf1": 1, "h1-vf2": 2, "h1-vf3": 3, "h1-uplink": 9}


class FullDisk(StoreKeeper):
    """The store on a disk that fills up after so many more changes."""

    room = 100

    def keep(self, changes: Sequence[Change], before: Snapshot) -> None:
        """Keep changes while there is room."""
        if not self.room:
            raise StoreError("the disk is full")
        self.room -= 1
        super().keep(changes, before)


@dataclass
class Running:
    """A service of this process, with its store and its one switch."""

    ovs: OpenVSwitch
    keeper: FullDisk
    service: SwitchService

    def limit(self, table: str) -> None:
        """Let a table of the switch take no more entries than it has."""
        full = len(self.ovs.dump_flows("nic", NUMBER[table]))
        create = ["--id=@t", "create", "Flow_Table", f"flow_limit={full}", "overflow_policy=refuse"]
        self.ovs.vsctl("--", *create, "--", "set", "bridge", "nic", f"flow_tables:{NUMBER[table]}=@t")

    def entries(self) -> set[tuple[int, int, str, str, int]]:
        """Return what stands in the switch."""
        found = self.ovs.dump_flows("nic")
        return {(entry.table, entry.priority, entry.match, entry.actions, entry.cookie) for entry in found}

    def kept(self) -> Snapshot:
        """Close the store and return what a start would find in it."""
        self.keeper.close()
        again = StoreKeeper(self.keeper.path)
        again.close()
        return again.restored


def _vport(number: int) -> Change:
    return Change(kind="vports", key=f"vm{number}", value=policies.vport(f"vm{number}", "h1", number))


@pytest.fixture
def running(ovs: OpenVSwitch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """Return a service with host h1, its vport vm1 and a layer without rules, and its switch ready."""
    if "ofp_event" not in SERVICE_BRICKS:
        AppManager.get_instance().instantiate(OFPHandler)
    monkeypatch.setattr(controller, "datapath_connection_factory", None)
    keeper = FullDisk(tmp_path / "state.sqlite3")
    service = SwitchService(ControlCore(compile_policy(keeper.restored)), keeper)
    listener = eventlet.listen(("127.0.0.1", 0))
    server = eventlet.spawn(eventlet.serve, listener, controller.datapath_connection_factory)
    network = [c for c in policies.network() if c.kind != "vports" and c.key != "h2"]
    service.change([*network, _vport(1), policies.layer("fw", 1), _group()], rights=ALL_RIGHTS, wait=False)
    ovs.add_bridge("nic", 1, PORTS)
    ovs.set_controller("nic", listener.getsockname()[1])
    wait_until(lambda: [host["state"] for host in service.hosts()] == ["ready"], "the switch to be ready")
    yield Running(ovs, keeper, service)
    ovs.vsctl("del-controller", "nic")
    wait_until(lambda: [host["state"] for host in service.hosts()] == ["away"], "the switch to be away")
    server.kill()


def _group(*ports: str) -> Change:
    rules = [policies.rule(f"no-{port}", Deny(), ip_proto="tcp", l4_dst=port) for port in ports]
    return policies.group("fw", "g", Direction.OUTBOUND, *rules)


def test_undoing_that_cannot_be_kept_stops_all_further_changes(running: Running) -> None:
    """M17: after a refused change whose inverse finds the disk full, changes are refused until the disk takes it."""
    service, before, entries = running.service, running.service.snapshot(), running.entries()
    running.limit("guard")
    running.keeper.room = 1
    with pytest.raises(SwitchRefused):
        service.change([_vport(2), _group("80")], rights=ALL_RIGHTS)
    running.ovs.vsctl("clear", "bridge", "nic", "flow_tables")
    assert (service.snapshot().vports, service.snapshot().groups) == (before.vports, before.groups)
    assert running.entries() == entries

    with pytest.raises(StoreError):
        service.change([_vport(3)], rights=ALL_RIGHTS)
    assert service.snapshot().vports == before.vports
    assert running.entries() == entries

    running.keeper.room = 100
    assert service.change([_vport(3)], rights=ALL_RIGHTS).state == "installed"
    kept = running.kept()
    assert set(kept.vports) == {"vm1", "vm3"}
    assert (kept.groups, kept.generation) == (before.groups, service.snapshot().generation)


def test_undoing_that_was_not_kept_is_kept_before_the_next_change(running: Running) -> None:
    """M17: the debt is paid first: with room for one record the inverse is kept, not the new change."""
    running.limit("guard")
    running.keeper.room = 1
    with pytest.raises(SwitchRefused):
        running.service.change([_vport(2), _group("80")], rights=ALL_RIGHTS)
    running.ovs.vsctl("clear", "bridge", "nic", "flow_tables")
    running.keeper.room = 1

    with pytest.raises(StoreError):
        running.service.change([_vport(3)], rights=ALL_RIGHTS)

    kept = running.kept()
    assert set(kept.vports) == {"vm1"}
    assert kept.groups == running.service.snapshot().groups

"""A hairpin made by one call on three real datapaths: all of it, or nothing in any of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mininet_scripts.support.controller import Controller
from mininet_scripts.support.waiting import wait_until
from tests.ovs import packets
from tests.ovs.harness.switch import OpenVSwitch

NIC = {"h1": 1, "h1f": 0x101, "h1n": 0x201}
PORTS = {
    "h1": {"h1-vf1": 1, "h1-vf2": 2, "h1-cable": 9},
    "h1f": {"h1f-vf1": 1, "h1f-vf2": 2, "h1f-cable": 9},
    "h1n": {"h1n-red": 1, "h1n-uplink": 9},
}
MACS = {number: f"02:00:00:00:00:{number:02x}" for number in (1, 2)}
BODY: dict[str, Any] = {
    "host": "h1",
    "dpid": "1",
    "hairpin": {
        "cable": "h1-cable",
        "function_port": {"dpid": "101", "cable": "h1f-cable"},
        "network_port": {"dpid": "201", "uplink": "h1n-uplink"},
    },
    "vports": {
        f"vm{number}": {
            "port": f"h1-vf{number}", "subinterface": f"h1f-vf{number}", "tenant": "red", "mac": mac,
            "vlan": 100 + number,
        } for number, mac in MACS.items()
    },
    "outlets": {"h1-red": {"segment": "red", "port": "h1n-red"}},
}  # fmt: skip


class Nic:
    """Three bridges of a private Open vSwitch, connected to a controller that knows a tenant and nothing else."""

    def __init__(self, ovs: OpenVSwitch, controller: Controller) -> None:
        self.ovs = ovs
        self.controller = controller
        self.client = controller.client
        for name, dpid in NIC.items():
            ovs.add_bridge(name, dpid, PORTS[name])
            ovs.set_controller(name, controller.openflow_port)
        self.client.put("/v1/tenants/red", {})
        self.client.put("/v1/segments/red", {"tenant": "red", "vlan": 200})
        wait_until(lambda: len(self.client.get("/v1/hosts")["unregistered"]), 10, "three datapaths",
                   until=lambda count: count == len(NIC))  # fmt: skip

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Return the answer to a call, whatever the status."""
        return self.controller.rest(method, f"/v1/{path}", body)

    def resources(self) -> dict[str, list[str]]:
        """Return the ids of what there is."""
        found = {kind: self.client.get(f"/v1/{kind}")["items"] for kind in ("hosts", "vports", "outlets", "hairpins")}
        return {kind: [item.get("id", item.get("host")) for item in items] for kind, items in found.items()}

    def entries(self) -> dict[str, int]:
        """Return how many entries stand in each bridge."""
        return {name: len(self.ovs.dump_flows(name)) for name in NIC}

    def refuse(self, bridge: str) -> None:
        """Let a bridge take one entry of its first table, and refuse all others."""
        create = ["--id=@t", "create", "Flow_Table", "flow_limit=1", "overflow_policy=refuse"]
        self.ovs.vsctl("--", *create, "--", "set", "bridge", bridge, "flow_tables:0=@t")


@pytest.fixture
def nic(ovs: OpenVSwitch, controller: Controller) -> Iterator[Nic]:
    """Return three bridges that are not registered yet."""
    yield Nic(ovs, controller)


NOTHING: dict[str, list[str]] = {"hosts": [], "vports": [], "outlets": [], "hairpins": []}
EMPTY = dict.fromkeys(NIC, 0)


def test_one_call_makes_all_of_it_and_one_takes_it_away(nic: Nic) -> None:
    """H13 H04: after one POST frames go from VF to sub-interface by VLAN, after one DELETE no datapath has an entry."""
    answer = nic.ask("POST", "hairpins", BODY)
    assert (answer.status, answer.body["outcome"]["state"]) == (201, "installed")
    assert nic.resources() == {"hosts": ["h1"], "vports": ["vm1", "vm2"], "outlets": ["h1-red"], "hairpins": ["h1"]}
    assert all(nic.entries().values())
    frame = packets.ether(MACS[1], MACS[2], packets.ARP, packets.arp(1, MACS[1], "10.0.0.1", "10.0.0.2")[14:])
    nic.ovs.receive("h1-vf1", frame)
    (tagged,) = nic.ovs.wait_sent("h1-cable")
    assert tagged == packets.tagged(frame, 101)
    nic.ovs.receive("h1f-cable", tagged)
    assert nic.ovs.wait_sent("h1f-vf1") == [frame]
    assert nic.ovs.sent("h1f-vf2") == nic.ovs.sent("h1-vf2") == []
    packet = {"eth_dst": MACS[2], "ipv4_src": "10.0.0.1", "ipv4_dst": "10.0.0.2", "ip_proto": "udp"}
    traced = nic.ask("POST", "trace", {"vport": "vm1", "direction": "outbound", "packet": packet})
    assert traced.body["delivery"] == {"to": "vport", "vport": "vm2", "host": "h1", "via": "cable"}
    assert nic.ask("DELETE", "hairpins/h1").status == 200
    assert nic.resources() == NOTHING
    assert nic.entries() == EMPTY


def test_a_restart_keeps_all_entries_of_all_three(nic: Nic) -> None:
    """M26 H13: a controller that starts again finds every entry of the three datapaths as it must be."""
    assert nic.ask("POST", "hairpins", BODY).status == 201
    before = nic.entries()
    nic.controller.stop()
    nic.controller.start()

    def states() -> list[tuple[str, int, int]]:
        live = nic.client.get("/v1/hosts/h1")["live"]
        parts = (live, live["hairpin"]["function_port"], live["hairpin"]["network_port"])
        return [(part["state"], part["kept_entries"], part["changed_entries"]) for part in parts]

    kept = [("ready", count, 0) for count in before.values()]
    wait_until(states, 10, "all three to be ready", until=lambda seen: seen == kept)


@pytest.mark.parametrize("bridge", NIC)
def test_what_one_datapath_refuses_is_undone_in_all(nic: Nic, bridge: str) -> None:
    """H13: whichever of the three datapaths refuses, none keeps an entry and nothing is stored; then it can be made."""
    nic.refuse(bridge)
    answer = nic.ask("POST", "hairpins", BODY)
    assert (answer.status, answer.body["type"]) == (502, "urn:vfswitch:problem:switch-refused")
    assert nic.resources() == NOTHING
    assert {name: count for name, count in nic.entries().items() if name != bridge} == {
        name: 0 for name in NIC if name != bridge
    }
    nic.ovs.vsctl("clear", "bridge", bridge, "flow_tables")
    wait_until(lambda: nic.entries(), 5, "no entry anywhere", until=lambda found: found == EMPTY)
    wait_until(lambda: nic.ask("POST", "hairpins", BODY).status, 10, "it to be made", until=lambda told: told == 201)
    assert all(nic.entries().values())


@pytest.mark.parametrize(
    ("vport", "path"),
    [
        ({"subinterface": "h1f-vf9"}, "vports.vm2.subinterface"),
        ({"port": "h1-vf9"}, "vports.vm2.port"),
        ({"vlan": 101}, "vports.vm1.vlan"),
    ],
)
def test_a_part_that_is_not_there_makes_nothing(nic: Nic, vport: dict[str, Any], path: str) -> None:
    """H13 H01: a VLAN in use, or a port that a switch does not have, refuses the whole; no datapath hears of it."""
    for _ in range(2):
        wrong = {**BODY, "vports": {**BODY["vports"], "vm2": {**BODY["vports"]["vm2"], **vport}}}
        answer = nic.ask("POST", "hairpins", wrong)
        assert answer.status in (409, 422), answer
        assert path in {fault["path"] for fault in answer.body["errors"]}
        assert nic.resources() == NOTHING
        assert nic.entries() == EMPTY

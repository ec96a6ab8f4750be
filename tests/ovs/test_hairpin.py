"""A hairpin made by one call on three real datapaths, or two without a cable: all of it, or nothing in any of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mininet_scripts.support.controller import Controller
from mininet_scripts.support.waiting import wait_until
from tests.ovs import packets
from tests.ovs.harness.switch import OpenVSwitch

DPIDS = {"h1": 1, "h1f": 0x101, "h1n": 0x201}
NETWORK_PORTS = {"h1n-red": 1, "h1n-uplink": 9}
# By how the NIC steers to functions: its bridges and their ports.
PORTS = {
    "vlan": {
        "h1": {"h1-vf1": 1, "h1-vf2": 2, "h1-cable": 9},
        "h1f": {"h1f-vf1": 1, "h1f-vf2": 2, "h1f-cable": 9},
        "h1n": NETWORK_PORTS,
    },
    "mac": {"h1": {"h1-vf1": 1, "h1-vf2": 2, "h1-sub1": 11, "h1-sub2": 12}, "h1n": NETWORK_PORTS},
}
MACS = {number: f"02:00:00:00:00:{number:02x}" for number in (1, 2)}
HAIRPIN: dict[str, dict[str, Any]] = {
    "vlan": {"cable": "h1-cable", "function_port": {"dpid": "101", "cable": "h1f-cable"}},
    "mac": {"steering": "mac"},
}
SUB_INTERFACE = {"vlan": "h1f-vf{}", "mac": "h1-sub{}"}


def body(steering: str) -> dict[str, Any]:
    """Return what makes the hairpin of one kind."""
    return {
        "host": "h1",
        "dpid": "1",
        "hairpin": {**HAIRPIN[steering], "network_port": {"dpid": "201", "uplink": "h1n-uplink"}},
        "vports": {
            f"vm{number}": {
                "port": f"h1-vf{number}", "subinterface": SUB_INTERFACE[steering].format(number), "tenant": "red",
                "mac": mac, "vlan": 100 + number,
            } for number, mac in MACS.items()
        },
        "outlets": {"h1-red": {"segment": "red", "port": "h1n-red"}},
    }  # fmt: skip


class Nic:
    """The bridges of a private Open vSwitch, connected to a controller that knows a tenant and nothing else."""

    def __init__(self, ovs: OpenVSwitch, controller: Controller, steering: str) -> None:
        self.ovs = ovs
        self.controller = controller
        self.client = controller.client
        self.bridges = tuple(PORTS[steering])
        self.body = body(steering)
        for name, ports in PORTS[steering].items():
            ovs.add_bridge(name, DPIDS[name], ports)
            ovs.set_controller(name, controller.openflow_port)
        self.client.put("/v1/tenants/red", {})
        self.client.put("/v1/segments/red", {"tenant": "red", "vlan": 200})
        wait_until(lambda: len(self.client.get("/v1/hosts")["unregistered"]), 10, "all datapaths",
                   until=lambda count: count == len(self.bridges))  # fmt: skip

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Return the answer to a call, whatever the status."""
        return self.controller.rest(method, f"/v1/{path}", body)

    def resources(self) -> dict[str, list[str]]:
        """Return the ids of what there is."""
        found = {kind: self.client.get(f"/v1/{kind}")["items"] for kind in ("hosts", "vports", "outlets", "hairpins")}
        return {kind: [item.get("id", item.get("host")) for item in items] for kind, items in found.items()}

    def entries(self) -> dict[str, int]:
        """Return how many entries stand in each bridge."""
        return {name: len(self.ovs.dump_flows(name)) for name in self.bridges}

    def is_empty(self, but: str = "") -> bool:
        """Return whether no bridge has an entry, or none but one."""
        return not any(count for name, count in self.entries().items() if name != but)

    def refuse(self, bridge: str) -> None:
        """Let a bridge take one entry of its first table, and refuse all others."""
        create = ["--id=@t", "create", "Flow_Table", "flow_limit=1", "overflow_policy=refuse"]
        self.ovs.vsctl("--", *create, "--", "set", "bridge", bridge, "flow_tables:0=@t")


@pytest.fixture(params=PORTS)
def nic(ovs: OpenVSwitch, controller: Controller, request: pytest.FixtureRequest) -> Iterator[Nic]:
    """Return the bridges of a NIC that are not registered yet."""
    yield Nic(ovs, controller, request.param)


cabled = pytest.mark.parametrize("nic", ["vlan"], indirect=True)
steered = pytest.mark.parametrize("nic", ["mac"], indirect=True)
NOTHING: dict[str, list[str]] = {"hosts": [], "vports": [], "outlets": [], "hairpins": []}


FRAME = packets.ether(MACS[1], MACS[2], packets.ARP, packets.arp(1, MACS[1], "10.0.0.1", "10.0.0.2")[14:])


def make(nic: Nic) -> None:
    """Make the hairpin with one call."""
    answer = nic.ask("POST", "hairpins", nic.body)
    assert (answer.status, answer.body["outcome"]["state"]) == (201, "installed")
    assert nic.resources() == {"hosts": ["h1"], "vports": ["vm1", "vm2"], "outlets": ["h1-red"], "hairpins": ["h1"]}
    assert all(nic.entries().values())


def delivery(nic: Nic, receiver: str) -> dict[str, Any]:
    """Return where the trace says that a packet of vm1 goes."""
    packet = {"eth_dst": receiver, "ipv4_src": "10.0.0.1", "ipv4_dst": "10.0.0.2", "ip_proto": "udp"}
    traced = nic.ask("POST", "trace", {"vport": "vm1", "direction": "outbound", "packet": packet})
    told: dict[str, Any] = traced.body["delivery"]
    return told


def unmake(nic: Nic) -> None:
    """Take the hairpin away with one call."""
    assert nic.ask("DELETE", "hairpins/h1").status == 200
    assert nic.resources() == NOTHING
    assert nic.is_empty()


@cabled
def test_one_call_makes_all_of_it_and_one_takes_it_away(nic: Nic) -> None:
    """H13 H04: after one POST frames go from VF to sub-interface by VLAN, after one DELETE no datapath has an entry."""
    make(nic)
    nic.ovs.receive("h1-vf1", FRAME)
    (tagged,) = nic.ovs.wait_sent("h1-cable")
    assert tagged == packets.tagged(FRAME, 101)
    nic.ovs.receive("h1f-cable", tagged)
    assert nic.ovs.wait_sent("h1f-vf1") == [FRAME]
    assert nic.ovs.sent("h1f-vf2") == nic.ovs.sent("h1-vf2") == []
    assert delivery(nic, MACS[2]) == {"to": "vport", "vport": "vm2", "host": "h1", "via": "cable"}
    assert delivery(nic, "02:00:00:00:99:99") == {"to": "cable", "vlan": 101}
    unmake(nic)


@steered
def test_one_call_steers_by_mac_and_one_takes_it_away(nic: Nic) -> None:
    """H13 H15: after one POST frames for vm2 go by the function only, after one DELETE no datapath has an entry."""
    make(nic)
    nic.ovs.receive("h1-vf1", FRAME)
    assert nic.ovs.wait_sent("h1-sub1") == [FRAME]
    assert nic.ovs.sent("h1-sub2") == nic.ovs.sent("h1-vf2") == []
    nic.ovs.receive("h1-sub2", FRAME)
    assert nic.ovs.wait_sent("h1-vf2") == [FRAME]
    assert nic.ovs.sent("h1-sub1") == [FRAME]
    assert nic.ovs.sent("h1-sub2") == nic.ovs.sent("h1-vf1") == []
    assert delivery(nic, MACS[2]) == {"to": "vport", "vport": "vm2", "host": "h1", "via": "subinterface"}
    assert delivery(nic, "02:00:00:00:99:99") == {"to": "subinterface", "port": "h1-sub1"}
    unmake(nic)


def test_a_restart_keeps_all_entries_of_all(nic: Nic) -> None:
    """M26 H13 H15: a controller that starts again finds every entry of all the datapaths as it must be."""
    assert nic.ask("POST", "hairpins", nic.body).status == 201
    before = nic.entries()
    nic.controller.stop()
    nic.controller.start()

    def states() -> list[tuple[str, int, int]]:
        live = nic.client.get("/v1/hosts/h1")["live"]
        others = [part for name, part in live["hairpin"].items() if name.endswith("_port")]
        parts = [live, *others]
        return [(part["state"], part["kept_entries"], part["changed_entries"]) for part in parts]

    kept = [("ready", count, 0) for count in before.values()]
    wait_until(states, 10, "all to be ready", until=lambda seen: seen == kept)


@pytest.mark.parametrize(
    ("nic", "bridge"), [(kind, bridge) for kind, bridges in PORTS.items() for bridge in bridges], indirect=["nic"]
)
def test_what_one_datapath_refuses_is_undone_in_all(nic: Nic, bridge: str) -> None:
    """H13 H15: whichever datapath refuses, none keeps an entry and nothing is stored; then it can be made."""
    nic.refuse(bridge)
    answer = nic.ask("POST", "hairpins", nic.body)
    assert (answer.status, answer.body["type"]) == (502, "urn:vfswitch:problem:switch-refused")
    assert nic.resources() == NOTHING
    assert nic.is_empty(but=bridge)
    nic.ovs.vsctl("clear", "bridge", bridge, "flow_tables")
    wait_until(nic.is_empty, 5, "no entry anywhere")
    wait_until(lambda: nic.ask("POST", "hairpins", nic.body).status, 10, "it made", until=lambda told: told == 201)
    assert all(nic.entries().values())


@pytest.mark.parametrize(
    ("nic", "vport", "path"),
    [
        ("vlan", {"subinterface": "h1f-vf9"}, "vports.vm2.subinterface"),
        ("mac", {"subinterface": "h1-sub9"}, "vports.vm2.subinterface"),
        ("vlan", {"port": "h1-vf9"}, "vports.vm2.port"),
        ("vlan", {"vlan": 101}, "vports.vm1.vlan"),
    ],
    indirect=["nic"],
)
def test_a_part_that_is_not_there_makes_nothing(nic: Nic, vport: dict[str, Any], path: str) -> None:
    """H13 H01: a VLAN in use, or a port that a switch does not have, refuses the whole; no datapath hears of it."""
    for _ in range(2):
        vports = nic.body["vports"]
        wrong = {**nic.body, "vports": {**vports, "vm2": {**vports["vm2"], **vport}}}
        answer = nic.ask("POST", "hairpins", wrong)
        assert answer.status in (409, 422), answer
        assert path in {fault["path"] for fault in answer.body["errors"]}
        assert nic.resources() == NOTHING
        assert nic.is_empty()

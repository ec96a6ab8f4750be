"""Hosts with a hairpin, sub-interfaces and outlets over REST."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.api.conftest import VPORT, Client

HAIRPIN = {
    "steering": "vlan",
    "cable": "h2-cable",
    "function_port": {"dpid": "0000000000000102", "cable": "h2f-cable"},
    "network_port": {"dpid": "0000000000000202", "uplink": "h2n-uplink"},
    "fail": "open",
}
HOST = {"dpid": "0000000000000002", "hairpin": HAIRPIN}
VF = {**VPORT, "host": "h2", "mac": "02:00:00:00:00:03", "vlan": 103, "subinterface": "h2f-vf1"}
OUTLET = {"host": "h2", "segment": "lab", "port": "h2n-lab", "macs": ["02:aa:00:00:00:01"]}
ITEMS = {"hosts/h2": HOST, "vports/vm3": VF, "outlets/h2-lab": OUTLET}
STEERED = {"steering": "mac", **{name: HAIRPIN[name] for name in ("network_port", "fail")}}


@pytest.fixture
def hairpin(network: Client) -> Client:
    """Return a client of a policy with a host that has a hairpin."""
    for item, body in ITEMS.items():
        network.put(f"/v1/{item}", body)
    return network


@pytest.mark.parametrize("item", ITEMS)
def test_what_get_shows_may_be_put_back(hairpin: Client, item: str) -> None:
    """H01: GET shows what was put, and to put it back changes nothing."""
    shown = hairpin.get(f"/v1/{item}")
    assert {name: shown[name] for name in ITEMS[item]} == ITEMS[item]
    assert hairpin.put(f"/v1/{item}", shown, 200)["outcome"]["state"] == "unchanged"


def test_the_parts_go_in_order(hairpin: Client) -> None:
    """An outlet and the VFs keep their host; when they are gone it can go."""
    assert hairpin.ask("DELETE", "/v1/hosts/h2")[0] == 409
    for item in ("outlets/h2-lab", "vports/vm3", "hosts/h2"):
        assert hairpin.ask("DELETE", f"/v1/{item}")[0] == 200
        assert hairpin.ask("GET", f"/v1/{item}")[0] == 404


@pytest.mark.parametrize(
    ("item", "alteration", "paths"),
    [
        ("hosts/h2", {"hairpin": {**HAIRPIN, "function_port": {"dpid": "0", "cable": "c"}}},
         {"hairpin.function_port.dpid"}),
        ("hosts/h2", {"hairpin": {**HAIRPIN, "network_port": {"dpid": "7"}}}, {"hairpin.network_port.uplink"}),
        ("hosts/h2", {"hairpin": {**HAIRPIN, "cables": 2}}, {"hairpin.cables"}),
        ("hosts/h2", {"hairpin": True}, {"hairpin"}),
        ("hosts/h2", {"hairpin": {**HAIRPIN, "steering": "ip"}}, {"hairpin.steering"}),
        ("hosts/h2", {"hairpin": {**HAIRPIN, "steering": None}}, {"hairpin.steering"}),
        ("hosts/h2", {"hairpin": {**HAIRPIN, "steering": "mac"}}, {"hairpin.cable", "hairpin.function_port"}),
        ("hosts/h2", {"hairpin": {**STEERED, "steering": "vlan"}}, {"hairpin.cable", "hairpin.function_port"}),
        ("hosts/h2", {"hairpin": {**STEERED, "network_port": {"dpid": "7"}}}, {"hairpin.network_port.uplink"}),
        ("hosts/h2", {"uplink": "up", "tunnel": "vx"}, {"uplink", "tunnel"}),
        ("vports/vm3", {"subinterface": None}, {"subinterface"}),
        ("vports/vm3", {"subinterface": "a name too long for a port"}, {"subinterface"}),
        ("outlets/h2-lab", {"macs": ["02:aa:00:00:00:01"] * 2}, {"macs[1]"}),
        ("outlets/h2-lab", {"macs": ["ff:ff:ff:ff:ff:ff"]}, {"macs[0]"}),
        ("outlets/h2-lab", {"segment": "red"}, {"segment"}),
        ("outlets/h2-lab", {"host": "h1"}, {"host"}),
    ],
)  # fmt: skip
def test_faults(hairpin: Client, item: str, alteration: dict[str, object], paths: set[str]) -> None:
    """H01: what cannot be accepted is refused with its path, and nothing changes."""
    assert hairpin.faults("PUT", f"/v1/{item}", {**ITEMS[item], **alteration}) == paths


PART: dict[str, Any] = {name: value for name, value in VF.items() if name != "host"}
WHOLE: dict[str, Any] = {
    "host": "h2",
    **HOST,
    "vports": {"vm3": PART},
    "outlets": {"h2-lab": {name: value for name, value in OUTLET.items() if name != "host"}},
}


@pytest.mark.parametrize("hairpin", [HAIRPIN, STEERED])
def test_one_call_makes_and_one_unmakes_it(network: Client, hairpin: dict[str, object]) -> None:
    """H13 H15: POST makes host, sub-interfaces and outlets as one generation, GET shows them, DELETE leaves nothing."""
    before = network.service.policy
    made = network.ask("POST", "/v1/hairpins", {**WHOLE, "hairpin": hairpin})
    assert (made[0], made[1]["outcome"]["state"]) == (201, "installed")
    assert network.service.policy.generation == before.generation + 1
    shown = network.get("/v1/hairpins/h2")
    assert network.get("/v1/hairpins")["items"] == [shown]
    for item, body in {**ITEMS, "hosts/h2": {**HOST, "hairpin": hairpin}}.items():
        one = network.get(f"/v1/{item}")
        assert {name: one[name] for name in body} == body
    assert network.ask("POST", "/v1/hairpins", shown)[0] == 409
    assert network.ask("DELETE", "/v1/hairpins/h2")[0] == 200
    after = network.service.policy
    assert (after.hosts, after.vports, after.outlets) == (before.hosts, before.vports, before.outlets)
    assert network.ask("POST", "/v1/hairpins", shown)[0] == 201
    assert network.get("/v1/hairpins/h2") == shown


def test_steering_can_be_changed_with_its_ports(hairpin: Client) -> None:
    """H15: a host goes from one kind of hairpin to the other by its document; the ports of its VFs may not clash."""
    at_vf = {**VF, "subinterface": VF["port"]}
    assert hairpin.put("/v1/vports/vm3", at_vf, 200)["subinterface"] == VF["port"]
    assert hairpin.faults("PUT", "/v1/hosts/h2", {**HOST, "hairpin": STEERED}, 409) == {"hairpin"}
    hairpin.put("/v1/vports/vm3", VF, 200)
    assert hairpin.put("/v1/hosts/h2", {**HOST, "hairpin": STEERED}, 200)["hairpin"] == STEERED
    assert hairpin.faults("PUT", "/v1/vports/vm3", at_vf) == {"subinterface"}


def test_a_host_that_is_there_gets_a_hairpin(network: Client) -> None:
    """H13: a plain host and its VFs are changed as one, which their parts alone could not be."""
    plain = network.get("/v1/vports/vm1")
    network.ask("DELETE", "/v1/vports/vm2")
    vf = {name: plain[name] for name in ("port", "tenant", "mac", "ips", "vlan")}
    asked = {"host": "h1", "dpid": "1", "hairpin": HAIRPIN, "vports": {"vm1": {**vf, "subinterface": "h1f-vf1"}}}
    assert network.ask("POST", "/v1/hairpins", {**asked, "vports": {}})[0] == 409
    assert network.ask("POST", "/v1/hairpins", asked)[0] == 201
    assert network.get("/v1/vports/vm1")["subinterface"] == "h1f-vf1"


@pytest.mark.parametrize(
    ("alteration", "status", "paths"),
    [
        ({"host": "no id"}, 422, {"host"}),
        ({"hairpin": {}}, 422, {"hairpin.cable", "hairpin.function_port"}),
        ({"hairpin": {**STEERED, "cable": "c"}}, 422, {"hairpin.cable"}),
        ({"hairpin": STEERED, "vports": {"vm3": {**PART, "subinterface": PART["port"]}}}, 422,
         {"vports.vm3.subinterface"}),
        ({"dpid": "1"}, 409, {"dpid"}),
        ({"vports": {"vm3": {**PART, "host": "h1"}}}, 422, {"vports.vm3.host"}),
        ({"vports": {"vm3": {**PART, "vlan": 101}}}, 409, {"vports.vm3.vlan"}),
        ({"vports": {"vm1": PART}}, 409, {"vports.vm1"}),
        ({"vports": {"vm3": {**PART, "tenant": "x"}}}, 422, {"vports.vm3.tenant", "vports.vm3.segment"}),
        ({"vports": {"vm3": {**PART, "ips": ["::1", "::1"]}}}, 422, {"vports.vm3.ips[1]"}),
        ({"outlets": {"o": {"segment": "x", "port": "p"}}}, 422, {"outlets.o.segment"}),
        ({"outlets": {"o": {"segment": "lab", "port": "h2n-uplink"}}}, 422, {"outlets.o.port"}),
    ],
)  # fmt: skip
def test_a_fault_in_any_part_makes_nothing(
    network: Client, alteration: dict[str, object], status: int, paths: set[str]
) -> None:
    """H13: one part that cannot be accepted refuses the whole, with the path to it."""
    assert network.faults("POST", "/v1/hairpins", {**WHOLE, **alteration}, status) == paths

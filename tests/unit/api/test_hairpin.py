"""Hosts with a hairpin, sub-interfaces and outlets over REST."""

from __future__ import annotations

import pytest

from tests.unit.api.conftest import VPORT, Client

HAIRPIN = {
    "cable": "h2-cable",
    "function_port": {"dpid": "0000000000000102", "cable": "h2f-cable"},
    "network_port": {"dpid": "0000000000000202", "uplink": "h2n-uplink"},
}
HOST = {"dpid": "0000000000000002", "hairpin": HAIRPIN}
VF = {**VPORT, "host": "h2", "mac": "02:00:00:00:00:03", "vlan": 103, "subinterface": "h2f-vf1"}
OUTLET = {"host": "h2", "segment": "lab", "port": "h2n-lab", "macs": ["02:aa:00:00:00:01"]}
ITEMS = {"hosts/h2": HOST, "vports/vm3": VF, "outlets/h2-lab": OUTLET}


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

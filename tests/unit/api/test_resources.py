"""Create, read, replace and delete over REST."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given

from tests.unit.api.conftest import RULE, VPORT, Client
from tests.unit.model.strategies import rules

ITEMS = ("hosts/h1", "tenants/red", "segments/lab", "vports/vm1", "vports/vm2", "routes/gw", "layers/fw",
         "layers/fw/groups/web", "layers/fw/groups/web/rules/http")


UNLIMITED = {"outbound_entries": None, "inbound_entries": None, "actions": None, "meters": None, "uplink_kbps": None}


@pytest.mark.parametrize("item", ITEMS)
def test_what_get_shows_may_be_put_back(network: Client, item: str) -> None:
    """A PUT of what GET shows changes nothing: 200, and no new generation."""
    before = network.service.policy
    answer = network.put(f"/v1/{item}", network.get(f"/v1/{item}"), 200)
    assert answer["outcome"]["state"] == "unchanged"
    assert network.service.policy is before


def test_forms(network: Client) -> None:
    """GET shows ids, defaults, a segment's number, a trunk's VLANs, and what is known of a host."""
    assert network.get("/v1/hosts/h1") == {
        "id": "h1", "dpid": "0000000000000001", "uplink": "h1-uplink", "tunnel": None, "limits": UNLIMITED,
        "miss": "pf", "live": {"connected": True},
    }
    assert network.get("/v1/segments/red") == {"id": "red", "tenant": "red", "vlan": None, "vni": None, "number": 1}
    assert network.get("/v1/vports/vm1") == {
        "id": "vm1", **VPORT, "kind": "vf", "segment": "red",
        "bandwidth": {"outbound_kbps": None, "inbound_kbps": None}, "priority": 0, "miss_rate_pps": 500,
        "synthetic": None,
    }  # fmt: skip
    assert network.get("/v1/vports/vm2")["trunk"] == [200]
    assert network.get("/v1/layers/fw")["default"] == {"outbound": "allow", "inbound": "deny"}
    rule = {"id": "http", **RULE, "idle_timeout_s": None, "offload": "auto"}
    assert network.get("/v1/layers/fw/groups/web") == {
        "id": "web", "layer": "fw", "applies_to": "all", "direction": "inbound", "priority": 1, "rules": [rule]
    }
    assert network.get("/v1/layers/fw/groups/web/rules/http") == {"layer": "fw", "group": "web", **rule}


def test_put_answers_with_the_resource_and_the_outcome(client: Client) -> None:
    """The answer to a PUT is the resource as GET shows it, and what came of the change."""
    answer = client.put("/v1/layers/fw", {"position": 1})
    outcome = {"state": "installed", "generation": 1, "waiting_for": [], "touched_flows": 0, "difference": []}
    assert answer == {**client.get("/v1/layers/fw"), "outcome": outcome}
    assert client.put("/v1/layers/fw", {"position": 2}, 200)["outcome"]["generation"] == 2


def test_created_says_where(client: Client) -> None:
    """201 carries the resource's address."""
    response = client.send("PUT", "/v1/tenants/red", b"{}")
    assert dict(response.headers)["Location"] == "/v1/tenants/red"


def test_lists(network: Client) -> None:
    """Every collection lists its items; a group in a list has a count in place of its rules."""
    assert [item["id"] for item in network.get("/v1/vports")["items"]] == ["vm1", "vm2"]
    assert network.get("/v1/layers/fw/groups")["items"] == [
        {"id": "web", "layer": "fw", "applies_to": "all", "direction": "inbound", "priority": 1, "rule_count": 1}
    ]
    assert [item["id"] for item in network.get("/v1/layers/fw/groups/web/rules")["items"]] == ["http"]
    hosts = network.get("/v1/hosts")
    assert [item["live"] for item in hosts["items"]] == [{"connected": True}]
    assert hosts["unregistered"] == [{"dpid": "00000000000000ff", "connected": True}]


def test_new_tenant_gets_its_segment(client: Client) -> None:
    """A new tenant comes with a segment of its id, numbered on, and both go together."""
    client.put("/v1/tenants/red", {})
    client.put("/v1/tenants/blue", {})
    assert client.get("/v1/segments/blue") == {"id": "blue", "tenant": "blue", "vlan": None, "vni": None, "number": 2}
    assert client.ask("DELETE", "/v1/tenants/red")[0] == 200
    assert [item["id"] for item in client.get("/v1/segments")["items"]] == ["blue"]


def test_tenant_keeps_a_segment_that_is_there(client: Client) -> None:
    """A new tenant does not take over another's segment of its id, nor lose it when deleted."""
    client.put("/v1/tenants/red", {})
    client.put("/v1/segments/blue", {"tenant": "red", "vlan": 7})
    client.put("/v1/tenants/blue", {})
    assert client.get("/v1/segments/blue")["tenant"] == "red"
    assert client.ask("DELETE", "/v1/tenants/blue")[0] == 200
    assert client.get("/v1/segments/blue")["tenant"] == "red"


def test_tenant_in_use(network: Client) -> None:
    """A tenant whose segment or vports are in use stays, with everything."""
    assert network.faults("DELETE", "/v1/tenants/red", None, 409) == {"id"}


def test_segment_number_survives_replacement(network: Client) -> None:
    """A segment keeps its number when replaced; a client can neither choose nor alter it."""
    number = network.get("/v1/segments/lab")["number"]
    network.put("/v1/segments/lab", {"tenant": "red", "vlan": 201}, 200)
    assert network.get("/v1/segments/lab")["number"] == number
    assert network.get("/v1/vports/vm2")["trunk"] == [201]
    assert network.faults("PUT", "/v1/segments/lab", {"tenant": "red", "number": 9}) == {"number"}
    assert network.faults("PUT", "/v1/segments/new", {"tenant": "red", "number": 9}) == {"number"}


def test_rules_by_themselves(network: Client) -> None:
    """A rule is put and deleted alone; the rest of its group stays."""
    network.put("/v1/layers/fw/groups/web/rules/ssh", {**RULE, "match": {"ip_proto": "tcp", "l4_dst": 22}})
    group = network.get("/v1/layers/fw/groups/web")
    assert {rule["id"] for rule in group["rules"]} == {"http", "ssh"}
    assert network.ask("DELETE", "/v1/layers/fw/groups/web/rules/http")[0] == 200
    assert [rule["id"] for rule in network.get("/v1/layers/fw/groups/web")["rules"]] == ["ssh"]


@given(rules())
def test_any_rule(rule: dict[str, Any]) -> None:
    """Every rule that can be written is accepted, and shown as it was sent."""
    client = Client()
    client.put("/v1/layers/fw", {"position": 1})
    client.put("/v1/layers/fw/groups/g", {"direction": "outbound", "priority": 1, "rules": []})
    client.put("/v1/layers/fw/groups/g/rules/r", rule)
    shown = client.get("/v1/layers/fw/groups/g/rules/r")
    assert {name: shown[name] for name in rule} == rule


@pytest.mark.parametrize("item", ITEMS)
def test_delete(network: Client, item: str) -> None:
    """DELETE answers with the outcome, and a second one with 404; what is in use answers 409."""
    in_use = {"hosts/h1", "tenants/red", "segments/lab", "layers/fw"}
    status, answer = network.ask("DELETE", f"/v1/{item}")
    if item in in_use:
        assert (status, [fault["path"] for fault in answer["errors"]]) == (409, ["id"] * len(answer["errors"]))
        return
    assert (status, answer["outcome"]["state"]) == (200, "installed")
    assert network.ask("GET", f"/v1/{item}")[0] == 404
    assert network.ask("DELETE", f"/v1/{item}")[0] == 404


@pytest.mark.parametrize("path", ["layers/no/groups/g", "layers/fw/groups/no/rules/r"])
def test_parent_missing(network: Client, path: str) -> None:
    """What lies in something that does not exist is not found, whatever the method."""
    bodies = {"groups": {"direction": "inbound", "priority": 1, "rules": []}, "rules": RULE}
    body = bodies[path.split("/")[-2]]
    assert network.ask("PUT", f"/v1/{path}", body)[0] == 404
    assert network.ask("GET", f"/v1/{path}")[0] == 404
    assert network.ask("DELETE", f"/v1/{path}")[0] == 404
    assert network.ask("GET", f"/v1/{path.rpartition('/')[0]}")[0] == 404


def test_dry_run(network: Client) -> None:
    """A dry run shows the resource and the difference, and changes nothing."""
    before = network.service.policy
    answer = network.put("/v1/tenants/blue?dry_run=true", {}, 200)
    assert answer["outcome"]["state"] == "planned"
    assert answer["outcome"]["difference"] == ["+ h1 table=outbound"]
    assert network.ask("DELETE", "/v1/vports/vm1?dry_run=true")[1]["outcome"]["state"] == "planned"
    assert network.faults("PUT", "/v1/vports/vm3?dry_run=true", VPORT, 409) == {"mac", "port", "vlan"}
    assert network.service.policy is before


def test_switch_away(network: Client) -> None:
    """A change that needs a switch that is away is refused, or kept when the client prefers not to wait."""
    network.service.away = ("h1",)
    assert network.faults("PUT", "/v1/tenants/blue", {}, 503) == set()
    response = network.send("PUT", "/v1/tenants/blue", b"{}", prefer="foo, Respond-Async; x=1")
    assert response.status == 202
    assert ("Preference-Applied", "respond-async") in response.headers
    (monitor,) = (value for name, value in response.headers if name == "Location")
    assert monitor == f"/v1/changes/{network.service.policy.generation}"
    assert network.ask("GET", monitor) == (200, {
        "generation": network.service.policy.generation, "state": "stored", "waiting_for": ["h1"], "failures": [],
    })  # fmt: skip
    status, answer = network.ask("DELETE", "/v1/tenants/blue", prefer="respond-async")
    assert (status, answer["outcome"]["state"], answer["outcome"]["waiting_for"]) == (202, "stored", ["h1"])


@pytest.mark.parametrize("generation", ["0", "-1", "1e3", "99999999", "9" * 5000, "x", "\u0661"])
def test_changes_that_never_were(network: Client, generation: str) -> None:
    """The progress of a change is told of generations that have been."""
    assert network.faults("GET", f"/v1/changes/{quote(generation)}", None, 404) == set()

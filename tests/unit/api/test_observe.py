"""Index, paging, flows, traces, counters and the OpenAPI document."""

from __future__ import annotations

import json
import re
from typing import Any

from ryu_apps.api.routes import ROUTES
from tests.unit.api.conftest import Client


def test_index_links_work(network: Client) -> None:
    """Every link of the index can be followed."""
    index = network.get("/v1")
    assert index["generation"] == network.service.policy.generation
    for name, path in index["links"].items():
        assert network.send("GET" if name != "trace" else "OPTIONS", path).status in (200, 204)


def _pages(client: Client, path: str) -> list[list[Any]]:
    pages = []
    while path:
        page = client.get(path)
        pages.append([item["id"] for item in page["items"]])
        path = page["next"]
    return pages


def test_paging(client: Client) -> None:
    """Following `next` gives every item once, in the order of ids, whatever comes and goes in between."""
    for number in range(25):
        client.put(f"/v1/tenants/t{number:02}", {})
    assert [len(page) for page in _pages(client, "/v1/tenants?limit=10")] == [10, 10, 5]
    assert [len(page) for page in _pages(client, "/v1/tenants?limit=25")] == [25]
    seen = [name for page in _pages(client, "/v1/tenants?limit=7") for name in page]
    assert seen == [f"t{number:02}" for number in range(25)]
    assert client.get("/v1/tenants?after=t23x")["items"] == [{"id": "t24"}]
    assert client.get("/v1/tenants?after=z") == {"items": [], "next": None}


def test_flows(network: Client) -> None:
    """Flows are paged by their number, and may be asked for one vport."""
    network.service.flow_count = 250
    assert [len(page) for page in _pages(network, "/v1/flows")] == [100, 100, 50]
    assert network.get("/v1/flows?vport=vm1&limit=1") == {
        "items": [{"id": 1, "vport": "vm1"}], "next": "/v1/flows?vport=vm1&limit=1&after=1"
    }
    assert network.ask("GET", "/v1/flows?vport=none")[0] == 404


def test_trace(network: Client) -> None:
    """A trace takes the fields of a packet as numbers or text; what is wrong with the request is told by path."""
    body = {"vport": "vm1", "direction": "outbound", "packet": {"ip_proto": "tcp", "l4_dst": 80}}
    status, answer = network.ask("POST", "/v1/trace", body)
    assert (status, answer["packet"]) == (200, {"ip_proto": "tcp", "l4_dst": "80"})
    assert network.faults("POST", "/v1/trace", {**body, "vport": "none"}) == {"vport"}
    assert network.faults("POST", "/v1/trace", {"vport": 1, "packet": {"a": None}, "x": 1}) == {
        "vport", "direction", "packet.a", "x"
    }



def _references(value: Any) -> set[str]:
    return set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(value)))


def test_openapi(client: Client) -> None:
    """The document describes every operation, and everything that it refers to is in it."""
    document = client.get("/v1/openapi.json")
    described = {(path, method) for path, methods in document["paths"].items() for method in methods}
    assert described == {(route.template, route.method.lower()) for route in ROUTES}
    assert _references(document) == set(document["components"]["schemas"])
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names))
    for operation, path in ((operation, path) for path, ops in document["paths"].items() for operation in ops.values()):
        in_path = {item["name"] for item in operation["parameters"] if item["in"] == "path"}
        assert in_path == set(re.findall(r"{(\w+)}", path))

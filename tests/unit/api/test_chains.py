"""Functions and chains over REST: what is refused, with which status and which paths, and what must be forced."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.api.conftest import Client
from tests.unit.api.test_hairpin import HOST


def instance(name: str, **more: Any) -> dict[str, Any]:
    """Return what a PUT says of an instance on the host."""
    return {"host": "h2", "inside": f"{name}-in", "outside": f"{name}-out", **more}


FUNCTION: dict[str, Any] = {
    "instances": {"a": instance("fw-a", weight=0), "b": instance("fw-b")},
    "rewriting": True,
    "probe": {"interval_ms": 100, "packet": {"udp_dst": 7}},
}
CHAIN: dict[str, Any] = {"tenant": "red", "hops": ["fw", "nat"]}
USED = "{count} connections go through it: wait until they have ended, or ask with force=true"


def chained(client: Client | None = None) -> Client:
    """Return a client of a policy with two tenants, of which red has a chain of two functions."""
    client = client or Client()
    client.put("/v1/hosts/h2", HOST)
    for number, name in enumerate(("red", "blue")):
        client.put(f"/v1/tenants/{name}", {})
        client.put(f"/v1/segments/{name}", {"tenant": name, "vlan": 200 + number}, 200)
    client.put("/v1/functions/fw", FUNCTION)
    client.put("/v1/functions/nat", {})
    client.put("/v1/functions/free", {})
    client.put("/v1/functions/apart", {"keeps_apart": True})
    client.put("/v1/chains/c", CHAIN)
    return client


@pytest.fixture
def client() -> Client:
    """Return a client of a policy with a chain."""
    return chained()


@pytest.mark.parametrize(
    ("path", "body", "status", "paths"),
    [
        ("chains/x", {"tenant": "red", "hops": ["nobody", "free", "none"]}, 422, {"hops[0]", "hops[2]"}),
        ("chains/x", {"tenant": "red", "hops": ["free", "apart", "free"], "vlan": 9}, 422, {"hops[2]"}),
        ("chains/x", {"tenant": "red", "hops": ["free", "fw"]}, 409, {"hops[1]"}),
        ("chains/x", {"tenant": "blue", "hops": ["free", "fw"]}, 409, {"hops[1]"}),
        ("chains/x", {"tenant": "red", "hops": ["apart"]}, 422, {"vlan"}),
        ("chains/x", {"tenant": "red", "hops": ["apart"], "vlan": 200}, 409, {"vlan"}),
        ("chains/x", {"tenant": "red", "hops": ["free"], "vlan": 4095}, 422, {"vlan"}),
        ("chains/x", {"tenant": "nobody", "hops": ["free"]}, 422, {"tenant", "segment"}),
        ("chains/x", {"tenant": "red", "segment": "blue", "hops": ["free"]}, 422, {"segment"}),
        ("chains/x", {"tenant": "red", "hops": []}, 422, {"hops"}),
        ("chains/x", {"tenant": "red", "hops": ["free"] * 10_000}, 422, {"hops"}),
        ("chains/x", {"tenant": "red", "hops": "free"}, 422, {"hops"}),
        ("chains/x", {"tenant": "red", "hops": [None, 1, {}, "ü"]}, 422, {f"hops[{n}]" for n in range(4)}),
        ("chains/x", {"tenant": "red"}, 422, {"hops"}),
        ("chains/x", {**CHAIN, "fail": "maybe", "symmetric_return": 1, "mark": 3, "vlan": "9"}, 422,
         {"fail", "symmetric_return", "mark", "vlan"}),
        ("chains/ü", CHAIN, 422, {"id"}),
        ("functions/x", {"instances": {"ü": instance("y")}}, 422, {"instances.ü"}),
        ("functions/x", {"instances": {"[key]": instance("y")}, "[key]": 1}, 422, {"instances.[key]", "[key]"}),
        ("functions/x", {"instances": {"a": None}}, 422, {"instances.a"}),
        ("functions/x", {"instances": {"a": instance("y", weight=10**400)}}, 422, {"instances.a.weight"}),
        ("functions/x", {"instances": {"a": instance("y", macs=["02:00:00:00:0f:01"])}}, 422, {"instances.a.macs"}),
        ("functions/x", {"instances": {f"i{n}": instance(f"y{n}") for n in range(65)}}, 422, {"instances"}),
        ("functions/x", {"probe": {"interval_ms": 1e300, "rise": -1}}, 422, {"probe.interval_ms", "probe.rise"}),
        ("functions/apart", {"keeps_apart": None}, 422, {"keeps_apart"}),
    ],
)  # fmt: skip
def test_refused_by_field(client: Client, path: str, body: Any, status: int, paths: set[str]) -> None:
    """H11: what cannot be is refused with every field that is at fault, and nothing is half made."""
    assert client.faults("PUT", f"/v1/{path}", body, status) == paths
    assert not client.reported


def test_a_function_in_two_chains_must_keep_them_apart(client: Client) -> None:
    """H11: a function that two tenants' chains use cannot cease to keep them apart, and each must have a VLAN."""
    for tenant, vlan in (("red", 301), ("blue", 302)):
        client.put(f"/v1/chains/{tenant}", {"tenant": tenant, "hops": ["apart"], "vlan": vlan})
    assert client.faults("PUT", "/v1/functions/apart", {}, 409) == {"keeps_apart"}
    assert client.faults("PUT", "/v1/chains/blue", {"tenant": "blue", "hops": ["apart"], "vlan": 301}, 409) == {"vlan"}
    assert client.faults("PUT", "/v1/chains/blue", {"tenant": "blue", "hops": ["apart"]}, 422) == {"vlan"}
    assert client.faults("PUT", "/v1/segments/blue", {"tenant": "blue", "vlan": 301}, 409) == {"vlan"}


@pytest.mark.parametrize(
    ("method", "path", "body", "told"),
    [
        ("PUT", "chains/c", {**CHAIN, "hops": ["nat", "fw"]}, {"hops": 3}),
        ("PUT", "chains/c", {**CHAIN, "symmetric_return": False}, {"symmetric_return": 3}),
        ("PUT", "chains/c", {"tenant": "blue", "hops": ["fw"]}, {"hops": 3, "segment": 3}),
        ("DELETE", "chains/c", None, {"id": 3}),
        ("PUT", "functions/fw", {**FUNCTION, "instances": {"b": instance("fw-b")}}, {"instances.a": 2}),
    ],
)
def test_live_connections_are_cut_only_by_force(
    client: Client, method: str, path: str, body: Any, told: dict[str, int]
) -> None:
    """H11 H12: a change that would cut or forget connections says how many there are, in the same words for an instance
    and for a chain, dry or not; with force=true it is made, and without connections it needs none."""
    client.service.functions.connections = {"a": 2, "c": 3, "b": 0}
    for query in ("", "?force=false", "?dry_run=true"):
        status, answer = client.ask(method, f"/v1/{path}{query}", body)
        found = {fault["path"]: fault["message"] for fault in answer["errors"]}
        assert (status, found) == (409, {field: USED.format(count=count) for field, count in told.items()})
    assert client.get("/v1/chains/c")["hops"] == CHAIN["hops"]
    assert client.ask(method, f"/v1/{path}?force=true", body)[0] == 200
    again = chained()
    again.service.functions.connections = {"a": 0, "c": 0}
    assert again.ask(method, f"/v1/{path}", body)[0] == 200


def test_what_leaves_connections_alone_needs_no_force(client: Client) -> None:
    """H12: weights, probes, the way to fail and a VLAN change while connections go on."""
    client.service.functions.connections = {"a": 2, "b": 2, "c": 3}
    client.put("/v1/chains/c", {**CHAIN, "fail": "open", "vlan": 77}, 200)
    heavier = {**FUNCTION, "probe": None, "instances": {name: instance(f"fw-{name}", weight=3) for name in "ab"}}
    client.put("/v1/functions/fw", heavier, 200)


@pytest.mark.parametrize(
    ("method", "path"), [("DELETE", "functions/free"), ("PUT", "tenants/red"), ("GET", "chains/c")]
)
def test_force_is_no_parameter_of_others(client: Client, method: str, path: str) -> None:
    """H11: where nothing is to be forced the parameter is unknown, and nothing is done."""
    before = client.service.policy
    status, answer = client.ask(method, f"/v1/{path}?force=true", {} if method == "PUT" else None)
    assert (status, [fault["path"] for fault in answer["errors"]]) == (400, ["query.force"])
    assert client.service.policy is before


_ODD = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from([10**400, "ü", "\0", "fw", "free", "red", "h2", "fw-a-in", "02:00:00:00:00:07", "192.0.2.1"])
)  # fmt: skip
_NAMES = st.sampled_from(
    ["tenant", "segment", "hops", "fail", "vlan", "mark", "instances", "host", "inside", "outside", "weight", "macs",
     "probe", "probe_packet", "packet", "interval_ms", "timeout_ms", "rewriting", "keeps_apart", "eth_dst", "live"]
) | st.text(max_size=5)  # fmt: skip
_JSON = st.recursive(
    _ODD, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_NAMES, inner, max_size=6), max_leaves=12
)


@st.composite
def _mangled(draw: st.DrawFn, document: dict[str, Any]) -> Any:
    """Draw a document that is accepted, with a member at some depth replaced or added."""
    place = made = copy.deepcopy(document)
    while draw(st.booleans()):
        inner = place[draw(st.sampled_from(sorted(place)))]
        if not isinstance(inner, dict) or not inner:
            break
        place = inner
    place[draw(st.sampled_from(sorted(place)) | _NAMES)] = draw(_JSON)
    return made


@pytest.mark.parametrize(
    ("path", "document"), [("functions/x", {"instances": {"a": instance("x")}}), ("functions/fw", FUNCTION),
                           ("chains/x", {"tenant": "red", "hops": ["free"]}), ("chains/c", CHAIN)],
)  # fmt: skip
@settings(max_examples=100)
@given(data=st.data())
def test_no_body_makes_an_internal_error(path: str, document: dict[str, Any], data: st.DataObject) -> None:
    """H11: whatever JSON is put, it is accepted or refused with reasons, and what was stored can be shown."""
    client = chained()
    body = data.draw(_JSON | _mangled(document))
    response = client.send("PUT", f"/v1/{path}", json.dumps(body).encode())
    assert response.status in (200, 201, 400, 409, 422), response.body
    assert not client.reported
    if response.status in (409, 422):
        assert json.loads(response.body)["errors"]
    if response.status in (200, 201):
        shown = client.get(f"/v1/{path}")
        put = {name: value for name, value in shown.items() if name not in ("id", "live", "mark")}
        assert client.put(f"/v1/{path}", put, 200)["outcome"]["state"] == "unchanged"

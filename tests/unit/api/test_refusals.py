"""What is refused, with which status and which paths; nothing changes then."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ryu_apps.api.http import BODY_LIMIT_BYTES
from ryu_apps.api.rule_schemas import MOST_RULES, GroupBody, MatchBody, SetBody
from ryu_apps.api.schemas import OutcomeBody, ProblemBody
from ryu_apps.api.validate import faults_of
from ryu_apps.model.fields import FIELDS, SETTABLE
from ryu_apps.model.turns import AT_ONCE
from tests.unit.api.conftest import RULE, VPORT, Client
from tests.unit.model.strategies import DOCUMENTS

GROUP = "/v1/layers/fw/groups/g"


def _group(*rules: Any) -> dict[str, Any]:
    return {"direction": "inbound", "priority": 1, "rules": list(rules)}


@pytest.mark.parametrize(
    ("path", "body", "paths"),
    [
        ("/v1/tenants/x", {"color": "red"}, {"color"}),
        ("/v1/tenants/x", [], {""}),
        ("/v1/tenants/a b", {}, {"id"}),
        ("/v1/tenants/..", {}, {"id"}),
        ("/v1/tenants/x", {"id": "y"}, {"id"}),
        ("/v1/hosts/h2", {"dpid": 1, "uplink": "a name of many"}, {"dpid", "uplink"}),
        ("/v1/hosts/h2", {"dpid": "12345678901234567"}, {"dpid"}),
        ("/v1/hosts/h2", {"dpid": "0"}, {"dpid"}),
        ("/v1/segments/s", {"tenant": "nobody", "vlan": 4095}, {"vlan"}),
        ("/v1/segments/s", {"tenant": "nobody"}, {"tenant"}),
        (
            "/v1/vports/vm3",
            {"host": 1, "port": "", "kind": "pf", "mac": "x", "ips": ["10.0.0.1", 5], "vlan": "7", "extra": None},
            {"host", "port", "kind", "tenant", "mac", "ips[1]", "vlan", "extra"},
        ),
        ("/v1/vports/vm3", {**VPORT, "vlan": True}, {"vlan"}),
        ("/v1/vports/vm3", {**VPORT, "vlan": 103.0}, {"vlan"}),
        ("/v1/vports/vm3", {**VPORT, "kind": "trunk", "trunk": [200, 201, 200]}, {"trunk[1]"}),
        ("/v1/vports/vm3", {**VPORT, "kind": "trunk", "trunk": [200, 200]}, {"trunk[1]"}),
        ("/v1/vports/vm3", {**VPORT, "host": "h9", "segment": "none"}, {"host", "segment"}),
        ("/v1/vports/vm3", {**VPORT, "port": "h1-uplink"}, {"port"}),
        ("/v1/routes/r", {"segment": "red", "eth_dst": "02:00:00:00:00:01"}, {"vport"}),
        ("/v1/routes/r", {"segment": "red", "eth_dst": "02:00:00:00:00:01", "to": "moon"}, {"to"}),
        ("/v1/layers/l", {"position": -1, "stateful": 1, "owner": "", "default": {"in": "deny"}},
         {"position", "stateful", "owner", "default.in"}),
        (GROUP, {**_group(), "applies_to": "some"}, {"applies_to"}),
        (GROUP, {**_group(), "applies_to": {"vport": "vm1", "tenant": "red"}}, {"applies_to"}),
        (GROUP, {**_group(), "applies_to": {"vport": "vm9"}}, {"applies_to.vport"}),
        (GROUP, {**_group(), "applies_to": {"host": "h1"}}, {"applies_to.host"}),
        (GROUP, {"direction": "both", "priority": 65536}, {"direction", "priority", "rules"}),
        (GROUP, _group({"id": "a", **RULE}, {"id": "a", **RULE}), {"rules[1].id"}),
        (GROUP, _group(3, {"id": "a", **RULE, "match": {"ipv4_src": "1.2.3", "port": 1, "l4_dst": True}}),
         {"rules[0]", "rules[1].match.ipv4_src", "rules[1].match.port", "rules[1].match.l4_dst"}),
        (GROUP, _group({"id": "a", **RULE, "action": {"type": "jump"}}), {"rules[0].action.type"}),
        (GROUP, _group({"id": "a", **RULE, "action": {}}), {"rules[0].action.type"}),
        (GROUP, _group({"id": "a", **RULE, "action": {"type": "allow", "allow": 1}}), {"rules[0].action.allow"}),
        (GROUP, _group({"id": "a", **RULE, "action": {"type": "nat", "source": {"ip": "10.0.0.0/8", "port": 0}}}),
         {"rules[0].action.source.ip", "rules[0].action.source.port"}),
        (GROUP, _group({"id": "a", **RULE, "action": {"type": "rewrite", "set": {"ipv4_src": "10.0.0.0/8"}}}),
         {"rules[0].action.set.ipv4_src"}),
        (GROUP, _group({"id": "a", **RULE, "action": {"type": "rewrite", "set": {
            "eth_src": "01:00:5e:00:00:01", "eth_dst": "00:00:00:00:00:00"}}}),
         {"rules[0].action.set.eth_src", "rules[0].action.set.eth_dst"}),
        (GROUP, _group({"id": "a", **RULE, "match": {}, "action": {"type": "nat", "source": {
            "ip": "10.0.0.1", "port": 5}}}), {"rules[0].action.source.port"}),
        (GROUP, _group({"id": "a", **RULE, "match": {"ip_proto": "tcp", "l4_dst": -1}}), {"rules[0].match.l4_dst"}),
        (GROUP + "/rules/r", {**RULE, "match": {"l4_dst": "80"}}, {"match.l4_dst"}),
        (GROUP + "/rules/r", {**RULE, "id": "s", "idle_timeout_s": 0}, {"id", "idle_timeout_s"}),
    ],
)
def test_faults(network: Client, path: str, body: Any, paths: set[str]) -> None:
    """Every fault of a body is named by its path, all at once."""
    if "rules/" in path:
        network.put(GROUP, _group())
    assert network.faults("PUT", path, body) == paths


def test_conflicts(network: Client) -> None:
    """What another owns is a conflict at its field."""
    assert network.faults("PUT", "/v1/vports/vm3", VPORT, 409) == {"mac", "port", "vlan"}
    assert network.faults("PUT", "/v1/hosts/h2", {"dpid": "1"}, 409) == {"dpid"}
    assert network.faults("PUT", "/v1/segments/s", {"tenant": "red", "vlan": 101}, 409) == {"vlan"}


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[1,]", b'{"a": NaN}', b"-Infinity", b"\xff\xfe", b'{"a": 1, "a": 2}', b'{"a": "\\ud800"}',
     b"[" * 100_000, b'{"a":' * 50_000, b"1" * 5000, b"{} {}", b"\xef\xbb\xbf{}", b"'a'"],
    ids=lambda body: body[:12].decode("latin-1"),
)
def test_not_json(client: Client, body: bytes) -> None:
    """A body that is not strict JSON is refused with 400."""
    assert client.send("PUT", "/v1/tenants/red", body).status == 400
    assert not client.reported


def test_media_type(client: Client) -> None:
    """A body is declared as JSON, with whatever parameters; else 415."""
    for declared, status in (("Application/JSON; charset=latin-1", 201), ("text/plain", 415), ("", 415)):
        assert client.send("PUT", "/v1/tenants/red", b"{}", content_type=declared).status == status


def test_body_limit(client: Client) -> None:
    """A body of the limit is read, one byte more is 413."""
    client.put("/v1/layers/fw", {"position": 1})
    base = json.dumps(_group()).encode()
    assert client.send("PUT", GROUP, base.ljust(BODY_LIMIT_BYTES)).status == 201
    assert client.send("PUT", GROUP, base.ljust(BODY_LIMIT_BYTES + 1)).status == 413


def test_large_group_fits(client: Client) -> None:
    """A group of 10,000 rules is accepted."""
    client.put("/v1/layers/fw", {"position": 1})
    rules = [
        {"id": f"r{n}", **RULE, "match": {"ip_proto": "tcp", "ipv4_src": f"10.0.{n >> 8}.{n & 255}"}}
        for n in range(10_000)
    ]
    client.put(GROUP, _group(*rules))
    assert client.get("/v1/layers/fw/groups")["items"][0]["rule_count"] == 10_000


def test_many_faults_are_cut(client: Client) -> None:
    """Of thousands of faults the first are told, with their number."""
    client.put("/v1/layers/fw", {"position": 1})
    status, answer = client.ask("PUT", GROUP, _group(*range(5000)))
    assert (status, len(answer["errors"])) == (422, 1000)
    assert "5000" in answer["detail"]


def test_wrong_methods(client: Client) -> None:
    """An unknown method is 405 with what is allowed; OPTIONS tells the same; HEAD is as GET."""
    response = client.send("PATCH", "/v1/tenants/red")
    assert (response.status, dict(response.headers)["Allow"]) == (405, "DELETE, GET, HEAD, OPTIONS, PUT")
    assert client.send("BREW", "/v1").status == 405
    response = client.send("OPTIONS", "/v1/flows")
    assert (response.status, response.headers) == (204, (("Allow", "GET, HEAD, OPTIONS"),))
    assert client.send("HEAD", "/v1/tenants") == client.send("GET", "/v1/tenants")


@pytest.mark.parametrize("path", ["/v1/", "/v1/x", "/v2", "/v1/tenants/", "/v1/tenants/a/b", "/v1//hosts", "/", ""])
def test_unknown_paths(client: Client, path: str) -> None:
    """A path that no resource can have is 404 as a problem body."""
    response = client.send("GET", path)
    assert response.status == 404
    assert dict(response.headers)["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("path", "paths"),
    [
        ("/v1/tenants?limit=0", {"query.limit"}),
        ("/v1/tenants?limit=1001&x=1&after=a/b", {"query.limit", "query.x", "query.after"}),
        ("/v1/tenants?limit=1&limit=2", {"query.limit"}),
        ("/v1/tenants?limit=%D9%A3", {"query.limit"}),
        ("/v1/tenants?dry_run=true", {"query.dry_run"}),
        ("/v1/flows?after=-1&vport=", {"query.after", "query.vport"}),
        ("/v1/stats?verbose", {"query.verbose"}),
        ("/v1/tenants?limit=%ff", set()),
        ("/v1/tenants?" + "&".join("abcdefghijklmnopqrstuvwxyz"), set()),
    ],
)
def test_query(client: Client, path: str, paths: set[str]) -> None:
    """A query parameter that is unknown, given twice or out of range is 400 at its path."""
    assert client.faults("GET", path, None, 400) == paths


def test_problem_bodies(network: Client) -> None:
    """Every refusal has the members of RFC 9457 and the list of faults."""
    for method, path, body in (
        ("GET", "/v1/vports/none", None),
        ("PUT", "/v1/vports/x", {}),
        ("PATCH", "/v1", None),
        ("DELETE", "/v1/hosts/h1", None),
    ):
        status, answer = network.ask(method, path, body)
        problem = ProblemBody.model_validate(answer)
        assert problem.status == status
        assert problem.type.startswith("urn:vfswitch:problem:")


def test_internal_error(client: Client) -> None:
    """A fault of our own is reported once, and the client learns only the reference."""

    def fail() -> None:
        raise ZeroDivisionError("secret")

    client.service.before_change = fail
    status, answer = client.ask("PUT", "/v1/tenants/red", {})
    assert (status, answer["detail"]) == (500, "an internal error; it was logged as reference-1")
    assert "secret" not in json.dumps(answer)
    assert [type(error) for error in client.reported] == [ZeroDivisionError]


def test_schemas_know_every_field() -> None:
    """The schemas of a match and of a rewrite name exactly the fields that the model has."""
    assert list(MatchBody.model_fields) == list(FIELDS)
    assert set(SetBody.model_fields) == set(SETTABLE)


def test_outcome_schema(client: Client) -> None:
    """An outcome is what the schema says."""
    OutcomeBody.model_validate(client.put("/v1/tenants/red", {})["outcome"])


PATHS = {
    "hosts": "/v1/hosts/x",
    "tenants": "/v1/tenants/x",
    "segments": "/v1/segments/x",
    "vports": "/v1/vports/x",
    "routes": "/v1/routes/x",
    "outlets": "/v1/outlets/x",
    "nat_pools": "/v1/nat_pools/x",
    "layers": "/v1/layers/x",
    "groups": "/v1/layers/fw/groups/x",
    "rules": "/v1/layers/fw/groups/web/rules/x",
}
_SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["red", "h1", "all", "lab", "10.0.0.1", "02:00:00:00:00:07", "::1", "tcp", "allow", "nat", "1-5"])
)
_NAMES = st.sampled_from(
    ["id", "dpid", "uplink", "tenant", "vlan", "number", "host", "port", "kind", "mac", "ips", "segment", "trunk", "to",
     "position", "default", "applies_to", "direction", "priority", "rules", "match", "action", "type", "set", "source",
     "ip", "pool", "addresses", "ports", *FIELDS]
) | st.text(max_size=5)
_JSON = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_NAMES, inner, max_size=6), max_leaves=12
)


_THERE = {"tenant": "red", "segment": "red", "host": "h1", "applies_to": "all"}


@st.composite
def _mangled(draw: st.DrawFn, kind: str) -> Any:
    """Draw a document that would be accepted, with a member at some depth replaced or added."""
    document = {name: _THERE.get(name, value) for name, value in copy.deepcopy(draw(DOCUMENTS[kind])).items()}
    if kind in ("segments", "vports"):
        document.pop("number", None)
        document.pop("trunk", None)
        document.pop("kind", None)
    place: Any = document
    while isinstance(place, dict) and place and draw(st.booleans()):
        inner = place[draw(st.sampled_from(sorted(place)))]
        inner = inner[0] if isinstance(inner, list) and inner else inner
        if not isinstance(inner, dict):
            break
        place = inner
    name = draw(st.sampled_from(sorted(place)) if place else _NAMES)
    place[name] = draw(_JSON)
    return document


@pytest.mark.parametrize("kind", PATHS)
@settings(max_examples=60)
@given(data=st.data())
def test_no_body_makes_an_internal_error(kind: str, data: st.DataObject) -> None:
    """Whatever JSON is put, the answer is a success or a refusal with reasons, and what was stored can be shown."""
    client = Client()
    client.put("/v1/hosts/h1", {"dpid": "1"})
    client.put("/v1/tenants/red", {})
    client.put("/v1/segments/lab", {"tenant": "red", "vlan": 200})
    client.put("/v1/layers/fw", {"position": 20})
    client.put("/v1/layers/fw/groups/web", _group())
    body = data.draw(_JSON | _mangled(kind))
    response = client.send("PUT", PATHS[kind], json.dumps(body).encode())
    assert response.status in (200, 201, 400, 409, 422), response.body
    if response.status == 422:
        assert json.loads(response.body)["errors"]
    assert not client.reported
    if response.status == 201:
        client.put(PATHS[kind], client.get(PATHS[kind]), 200)


@given(st.binary(max_size=200), st.text(max_size=30), st.text(max_size=30))
def test_no_bytes_make_an_internal_error(body: bytes, path: str, query: str) -> None:
    """Whatever bytes, path and query come, the answer is a refusal or a success."""
    client = Client()
    for method in ("GET", "PUT", "POST", "DELETE"):
        client.send(method, f"/v1/{path.replace('?', '')}?{query}", body)
        client.send(method, f"/v1/tenants/red?{query}", body)
        client.send(method, "/v1/trace", body)
    assert not client.reported


def test_faults_of_many_rules_are_found_some_at_a_time() -> None:
    """Each fault is named once and with its own number, however many rules stand before it; others get their turn."""
    good = {"priority": 1, "match": {}, "action": {"type": "allow"}}
    rules: list[Any] = [{"id": f"r{number}", **good} for number in range(5 * AT_ONCE)]
    rules[7] = {**rules[7], "priority": "high"}
    rules[AT_ONCE + 3] = {**rules[AT_ONCE + 3], "action": {"type": "nod"}}
    rules[-1] = 5
    body = {**_group(*rules), "color": "red"}
    pauses: list[None] = []
    faults = faults_of(GroupBody, body, lambda: pauses.append(None))
    paths = sorted(fault.path for fault in faults)
    assert paths == sorted(fault.path for fault in faults_of(GroupBody, body))
    assert paths == sorted(
        ["color", "rules[7].priority", f"rules[{AT_ONCE + 3}].action.type", f"rules[{len(rules) - 1}]"]
    )
    assert len(pauses) == 5
    assert [fault.path for fault in faults_of(MatchBody, {"rules": rules})] == ["rules"]
    too_many = _group(*rules[8:9] * (MOST_RULES + 1))
    assert [fault.path for fault in faults_of(GroupBody, too_many)] == ["rules"]

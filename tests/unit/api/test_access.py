"""Tokens and owners over REST: who gets in, and who may do what."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from ryu_apps.api.access import Needs
from ryu_apps.api.http import Request
from ryu_apps.api.routes import ROUTES
from ryu_apps.api.schemas import ProblemBody
from ryu_apps.model.rights import Rights, driver_rights
from ryu_apps.model.tokens import Token, Tokens, token_hash
from tests.unit.api.conftest import RULE, VPORT, Client

DRIVER = Token(id="vm1", sha256=token_hash("vm1.secret"), rights=driver_rights("vm1"))
OWNERS = {"root": ("admin", True), "x": ("ops", True), "y": ("net", True), "viewer": ("ops", False)}
TOKENS = Tokens((
    DRIVER,
    *(
        Token(id=name, sha256=token_hash(f"{name}.secret"), rights=Rights(owner=owner, may_write=writes))
        for name, (owner, writes) in OWNERS.items()
    ),
))
LAYER = {"position": 20, "owner": "ops"}
GROUP = {"direction": "inbound", "priority": 1, "rules": [{"id": "http", **RULE}]}
PUTS: Mapping[str, Any] = {
    "layers/fw": {**LAYER, "position": 21},
    "layers/fw/groups/web": {**GROUP, "priority": 2},
    "layers/fw/groups/new": GROUP,
    "layers/fw/groups/web/rules/http": {**RULE, "priority": 3},
    "layers/fw/groups/web/rules/new": RULE,
}
ADMINS_PUTS: Mapping[str, Any] = {
    "hosts/h2": {"dpid": "2"},
    "tenants/blue": {},
    "segments/new": {"tenant": "red"},
    "vports/vm1": {**VPORT, "ips": []},
    "routes/new": {"segment": "red", "eth_dst": "02:00:00:00:00:98", "to": "uplink"},
    "outlets/new": {"host": "h9", "segment": "lab", "port": "h9n-lab"},
    "functions/new": {"rewriting": True},
    "nat_pools/new": {"segment": "lab", "host": "h1", "addresses": ["10.0.0.210"]},
    "layers/unowned": {"position": 1},
    "layers/bare": {"position": 1},
    "layers/bare/groups/g": GROUP,
}
HAIRPIN = {
    "cable": "h9-cable",
    "function_port": {"dpid": "109", "cable": "h9f-cable"},
    "network_port": {"dpid": "209", "uplink": "h9n-uplink"},
}
DELETES = ("layers/empty", "layers/fw/groups/web", "layers/fw/groups/web/rules/http")
ADMINS_DELETES = ("hosts/h1", "tenants/red", "segments/red", "vports/vm1", "routes/gw", "nat_pools/p", "layers/bare")


class Guarded(Client):
    """A client of a service with tokens in force, and of a policy in which `ops` and the administrator have layers."""

    def __init__(self) -> None:
        super().__init__(tokens=TOKENS)
        for path, body in {
            "hosts/h1": {"dpid": "1", "uplink": "h1-uplink"},
            "hosts/h9": {"dpid": "9", "hairpin": HAIRPIN},
            "tenants/red": {},
            "segments/lab": {"tenant": "red", "vlan": 200},
            "vports/vm1": VPORT,
            "routes/gw": {"segment": "red", "eth_dst": "02:00:00:00:00:99", "to": "uplink"},
            "nat_pools/p": {"segment": "lab", "host": "h1", "addresses": ["10.0.0.200"]},
            "layers/fw": LAYER,
            "layers/fw/groups/web": GROUP,
            "layers/empty": LAYER,
            "layers/bare": {"position": 5},
        }.items():
            status, answer = self.as_("root", "PUT", path, body)
            assert status == 201, answer

    def as_(self, who: str, method: str, path: str, value: Any = None) -> tuple[int, Any]:
        """Return status and body of the answer to a request with one of the tokens."""
        return self.ask(method, f"/v1/{path}", value, authorization=f"Bearer {who}.secret")


@pytest.fixture
def guarded() -> Guarded:
    """Return a client of a service with tokens in force."""
    return Guarded()


def _refused(client: Guarded, who: str, method: str, path: str, value: Any = None) -> str:
    """Return why a request is refused as forbidden; nothing may have changed."""
    before = client.service.policy
    status, answer = client.as_(who, method, path, value)
    assert (status, ProblemBody.model_validate(answer).type) == (403, "urn:vfswitch:problem:forbidden"), answer
    assert client.service.policy is before
    return str(answer["detail"])


@pytest.mark.parametrize("dry_run", ["", "?dry_run=true"])
@pytest.mark.parametrize("path", PUTS)
def test_puts_in_a_layer(guarded: Guarded, path: str, dry_run: str) -> None:
    """M27: of a layer, its groups and rules every PUT is its owner's and the administrator's, a dry run too."""
    assert "layer 'fw' belongs to owner 'ops'" in _refused(guarded, "y", "PUT", path + dry_run, PUTS[path])
    assert "only read" in _refused(guarded, "viewer", "PUT", path + dry_run, PUTS[path])
    for who in ("x", "root"):
        assert guarded.as_(who, "PUT", path + dry_run, PUTS[path])[0] in (200, 201)


@pytest.mark.parametrize("dry_run", ["", "?dry_run=true"])
@pytest.mark.parametrize("path", DELETES)
def test_deletes_in_a_layer(path: str, dry_run: str) -> None:
    """M27: of a layer, its groups and rules every DELETE is its owner's and the administrator's, a dry run too."""
    for who in ("x", "root"):
        client = Guarded()
        assert "belongs to owner 'ops'" in _refused(client, "y", "DELETE", path + dry_run)
        assert "only read" in _refused(client, "viewer", "DELETE", path + dry_run)
        assert client.as_(who, "DELETE", path + dry_run)[0] == 200


@pytest.mark.parametrize("dry_run", ["", "?dry_run=true"])
@pytest.mark.parametrize("path", ADMINS_PUTS)
def test_puts_of_the_administrator(guarded: Guarded, path: str, dry_run: str) -> None:
    """Hosts, tenants, segments, vports, routes, and layers without an owner are put by the administrator alone."""
    for who in ("x", "y", "viewer"):
        _refused(guarded, who, "PUT", path + dry_run, ADMINS_PUTS[path])
    assert guarded.as_("root", "PUT", path + dry_run, ADMINS_PUTS[path])[0] in (200, 201)


@pytest.mark.parametrize("path", ADMINS_DELETES)
def test_deletes_of_the_administrator(guarded: Guarded, path: str) -> None:
    """The same are deleted by the administrator alone; for it what is in use is a conflict as ever."""
    for who in ("x", "y", "viewer"):
        _refused(guarded, who, "DELETE", path)
    assert guarded.as_("root", "DELETE", path)[0] in (200, 409)


def test_new_layers(guarded: Guarded) -> None:
    """M27: an owner makes layers of its own name, and none of another's; the fault is at `owner`."""
    for owner, who in (("ops", "y"), ("net", "x"), ("admin", "x"), ("*", "x")):
        assert f"layer 'new' would belong to owner {owner!r}" in _refused(
            guarded, who, "PUT", "layers/new", {**LAYER, "owner": owner}
        )
    assert guarded.as_("x", "PUT", "layers/new", {**LAYER, "owner": "net"})[1]["errors"] == [
        {"path": "owner", "message": "must be 'ops'"}
    ]
    assert guarded.as_("x", "PUT", "layers/new", LAYER)[0] == 201
    assert guarded.as_("root", "PUT", "layers/other", {**LAYER, "owner": "net"})[0] == 201


def test_owner_of_a_layer(guarded: Guarded) -> None:
    """M27: a layer is neither taken over nor given away by changing its owner; the administrator may do so."""
    _refused(guarded, "y", "PUT", "layers/fw", {**LAYER, "owner": "net"})
    _refused(guarded, "x", "PUT", "layers/fw", {**LAYER, "owner": "net"})
    _refused(guarded, "x", "PUT", "layers/fw", {"position": 20})
    assert guarded.as_("root", "PUT", "layers/fw", {**LAYER, "owner": "net"})[0] == 200
    _refused(guarded, "x", "PUT", "layers/fw/groups/web", GROUP)
    assert guarded.as_("y", "PUT", "layers/fw/groups/web", {**GROUP, "priority": 9})[0] == 200


def test_what_is_there_already_is_refused_alike(guarded: Guarded) -> None:
    """M27: to put what is there changes nothing, and is still refused to those who may not write it."""
    _refused(guarded, "y", "PUT", "layers/fw", LAYER)
    _refused(guarded, "y", "PUT", "layers/fw/groups/web", GROUP)


def test_a_layer_that_is_not_there(guarded: Guarded) -> None:
    """What lies in a layer that does not exist is not found, as ever."""
    assert guarded.as_("x", "PUT", "layers/none/groups/g", GROUP)[0] == 404
    assert guarded.as_("x", "DELETE", "layers/none")[0] == 404


@pytest.mark.parametrize("path", ["layers/fw", "layers/new", "layers/fw/groups/web"])
def test_an_owner_that_changes_meanwhile(guarded: Guarded, path: str) -> None:
    """M27: rights are those at the moment of the change, not those when the request came."""

    def give_away() -> None:
        policy = guarded.service.policy
        admins = policy.layers["bare"]
        layers = policy.layers.update({name: replace(admins, id=name) for name in ("fw", "new")})
        guarded.service.policy = replace(policy, layers=layers)

    guarded.service.before_change = give_away
    status, answer = guarded.as_("x", "PUT", path, PUTS.get(path, LAYER))
    assert (status, "belongs to owner 'admin'" in answer["detail"]) == (403, True)
    assert guarded.as_("root", "GET", "layers/fw/groups/web")[1]["priority"] == 1


READS = ("", "/hosts", "/hosts/h1", "/tenants", "/tenants/red", "/segments/red", "/vports/vm1", "/routes/gw", "/layers",
         "/layers/fw", "/layers/bare", "/layers/fw/groups/web", "/layers/fw/groups/web/rules/http", "/flows", "/stats",
         "/vports/vm1/hints")


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize("who", OWNERS)
def test_every_token_reads_everything(guarded: Guarded, who: str, path: str) -> None:
    """Any valid token reads all policy, flows and counters, and asks for traces."""
    for method in ("GET", "HEAD", "OPTIONS"):
        answer = guarded.send(method, f"/v1{path}", authorization=f"bearer  {who}.secret")
        assert answer.status in (200, 204)
    trace = {"vport": "vm1", "direction": "outbound", "packet": {"ip_proto": "tcp"}}
    assert guarded.as_(who, "POST", "trace", trace)[0] == 200


@pytest.mark.parametrize("route", [route for route in ROUTES if route.needs is not Needs.NOTHING],
                         ids=lambda route: f"{route.method} {route.template}")
def test_a_vm_reads_its_own_hints_and_nothing_else(guarded: Guarded, route: Any) -> None:
    """M14: the token of a VM's driver gives the hints of its vport; anything else, others' hints too, is 403."""
    before = guarded.service.policy
    for vport in ("vm1", "vm2"):
        path = route.template.format(host="h1", tenant="red", segment="red", vport=vport, route="gw", outlet="out",
                                     function="fw", chain="c", layer="fw", group="web", rule="http", nat_pool="p",
                                     generation="1")
        own = path == "/v1/vports/vm1/hints"
        answer = guarded.send(route.method, path, b"{}", authorization="Bearer vm1.secret")
        assert answer.status == (200 if own else 403)
    assert guarded.service.policy is before


BAD = {
    "none": None,
    "empty": "",
    "another scheme": "Basic cm9vdDpyb290LnNlY3JldA==",
    "no token": "Bearer",
    "no token but a space": "Bearer ",
    "unknown": "Bearer root.Secret",
    "unknown id": "Bearer nobody.secret",
    "the id alone": "Bearer root",
    "two tokens": "Bearer root.secret,Bearer root.secret",
    "something behind": "Bearer root.secret x",
    "no scheme": "root.secret",
    "not ASCII": "Bearer root.secr\xe9t",
    "no character at all": "Bearer root.\ud800",
}


@pytest.mark.parametrize("sent", BAD)
@pytest.mark.parametrize("route", [route for route in ROUTES if route.needs is not Needs.NOTHING],
                         ids=lambda route: f"{route.method} {route.template}")
def test_without_a_valid_token(guarded: Guarded, route: Any, sent: str) -> None:
    """Every operation but the OpenAPI document asks for a token: 401, with a challenge after RFC 6750 section 3."""
    value = BAD[sent]
    before = guarded.service.policy
    path = route.template.format(host="h1", tenant="red", segment="red", vport="vm1", route="gw", outlet="out",
                                 function="fw", chain="c", layer="fw", group="web", rule="http", nat_pool="p",
                                 generation="1")
    response = guarded.send(route.method, path, b"{}", **({} if value is None else {"authorization": value}))
    assert response.status == 401
    assert ProblemBody.model_validate(json.loads(response.body)).type == "urn:vfswitch:problem:unauthorized"
    told = ', error="invalid_token"' if value is not None and value.startswith("Bearer") else ""
    assert dict(response.headers)["WWW-Authenticate"] == f'Bearer realm="vfswitch"{told}'
    assert guarded.service.policy is before


def test_forbidden_has_a_challenge(guarded: Guarded) -> None:
    """403 says by RFC 6750 section 3.1 that another token might do."""
    response = guarded.send("DELETE", "/v1/hosts/h1", authorization="Bearer x.secret")
    assert dict(response.headers)["WWW-Authenticate"] == 'Bearer realm="vfswitch", error="insufficient_scope"'


@pytest.mark.parametrize(
    ("method", "path", "token", "status"),
    [
        ("PUT", "/v1/layers/fw", "", 401),
        ("PUT", "/v1/layers/fw", "Bearer wrong", 401),
        ("PUT", "/v1/layers/fw", "Bearer y.secret", 403),
        ("PUT", "/v1/layers/fw/groups/web", "Bearer y.secret", 403),
        ("PUT", "/v1/layers/fw/groups/web/rules/http", "Bearer viewer.secret", 403),
        ("PUT", "/v1/hosts/h1", "Bearer x.secret", 403),
        ("POST", "/v1/trace", "", 401),
        ("GET", "/v1/layers", "", 401),
    ],
)
def test_the_body_of_a_refused_request_is_not_read(
    guarded: Guarded, method: str, path: str, token: str, status: int
) -> None:
    """What can be refused by token and path is refused before its body is read."""

    def body() -> bytes:
        raise AssertionError("the body was read")

    request = Request(method=method, path=path, headers={"authorization": token}, body=body)
    assert guarded.api.handle(request).status == status
    assert not guarded.reported


def test_the_description_is_for_everyone(guarded: Guarded) -> None:
    """The OpenAPI document needs no token, and says which operations do and what they answer without rights."""
    document = guarded.get("/v1/openapi.json")
    assert document["components"]["securitySchemes"] == {"token": {"type": "http", "scheme": "bearer"}}
    assert document["security"] == [{"token": []}]
    for route in ROUTES:
        operation = document["paths"][route.template][route.method.lower()]
        public = route.template == "/v1/openapi.json"
        assert operation.get("security") == ([] if public else None)
        assert ("401" in operation["responses"]) is not public
        assert ("403" in operation["responses"]) is not public


def test_without_tokens_nobody_is_asked(network: Client) -> None:
    """Without tokens in force everyone has all rights, a header that is sent is ignored, and nothing is said of it."""
    assert network.ask("PUT", "/v1/layers/fw", LAYER, authorization="Bearer nonsense")[0] == 200
    assert network.ask("DELETE", "/v1/vports/vm2")[0] == 200
    text = json.dumps(network.get("/v1/openapi.json"))
    assert "securitySchemes" not in text and '"401"' not in text and '"403"' not in text


def test_an_operation_says_what_it_needs() -> None:
    """Reading takes any token but a VM's, hints any, writing in layers their owner's, else the administrator's."""
    for route in ROUTES:
        if route.template == "/v1/openapi.json":
            assert route.needs is Needs.NOTHING
        elif route.template.endswith("/hints"):
            assert route.needs is Needs.HINTS
        elif route.method == "GET" or route.template == "/v1/trace":
            assert route.needs is Needs.READ
        else:
            assert route.needs is (Needs.LAYER if "{layer}" in route.template else Needs.ADMIN)

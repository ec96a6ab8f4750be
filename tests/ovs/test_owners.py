"""Several policy owners on one controller: each replaces its own layer, nobody another's."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from mininet_scripts.support.rest import RestAnswer, RestClient
from ryu_apps.model.rights import Rights
from ryu_apps.model.tokens import Token, token_hash
from tests.ovs.scenario import Lab
from tests.ovs.site import Site
from tests.ovs.stations import VM1, VM2, Rule, rule, tcp

OWNERS: Final = {"root": "admin", "x": "team x", "y": "team y"}
SSH: Final = {"ip_proto": "tcp", "l4_dst": 22}
WEB: Final = {"ip_proto": "tcp", "l4_dst": 80}
# Everything that there is of a layer with one group of one rule.
PARTS: Final = ("", "/groups", "/groups/g", "/groups/g/rules", "/groups/g/rules/r")


def _token(name: str) -> str:
    return f"{name}.secret-of-{name}"


@pytest.fixture(scope="module")
def owned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Return two hosts and a controller with tokens in force, asked as the administrator."""
    folder: Path = tmp_path_factory.mktemp("owned")
    tokens = folder / "tokens"
    tokens.touch(0o600)
    for name, owner in OWNERS.items():
        token = Token(id=name, sha256=token_hash(_token(name)), rights=Rights(owner=owner, may_write=True))
        with tokens.open("a") as file:
            file.write(f"{token.line}\n")
    site = Site(folder, env={"VFSWITCH_TOKENS": str(tokens)}, token=_token("root"))
    try:
        site.start()
        yield site
    finally:
        site.stop()


class Owner:
    """One team with its token and the layer of its name."""

    def __init__(self, lab: Lab, name: str, position: int) -> None:
        self.name = name
        self.path = f"/v1/layers/{name}"
        self.layer = {"position": position, "owner": OWNERS[name]}
        self._client: RestClient = replace(lab.controller.client, token=_token(name))

    def call(self, method: str, path: str, body: object = None) -> RestAnswer:
        """Return the answer to a call with the team's token."""
        return self._client.call(method, path, body)

    def put(self, part: str, body: object) -> None:
        """Put the team's layer, or a part of it; it is accepted."""
        answer = self.call("PUT", self.path + part, body)
        assert answer.status in (200, 201), answer

    def put_all(self, *rules: Rule, **layer: Any) -> None:
        """Put the layer and its group `g`."""
        self.put("", {**self.layer, **layer})
        self.put("/groups/g", _group(*rules))

    def shown(self) -> list[bytes]:
        """Return what REST shows of the layer and all that is in it, byte for byte."""
        found = []
        for part in PARTS:
            url = self._client.base_url + self.path + part
            request = urllib.request.Request(url, headers={"Authorization": f"Bearer {self._client.token}"})
            with urllib.request.urlopen(request, timeout=5) as answer:
                found.append(answer.read())
        return found


def _group(*rules: Rule) -> dict[str, Any]:
    return {"direction": "outbound", "priority": 100, "rules": list(rules)}


@pytest.fixture
def lab(owned: Site) -> Lab:
    """Return the site with an empty policy and two VMs."""
    return Lab(owned).tenant(VM1, VM2)


@pytest.fixture
def teams(lab: Lab) -> tuple[Owner, Owner]:
    """Return x, whose layer lets everything pass, and y, whose layer denies SSH."""
    x, y = Owner(lab, "x", 10), Owner(lab, "y", 20)
    x.put_all(rule("r", WEB))
    y.put_all(rule("r", SSH, "deny"))
    return x, y


def test_an_owner_replaces_its_layer_and_nobody_elses_changes(lab: Lab, teams: tuple[Owner, Owner]) -> None:
    """M27: X replaces, empties, deletes and makes its layer anew; Y's stays byte for byte and goes on to hold."""
    x, y = teams
    before = y.shown()
    ssh, web = tcp(VM1, VM2, dport=22), tcp(VM1, VM2, dport=80)
    lab.send(VM1, ssh, web)
    assert lab.wait_sent(VM2) == [web]

    steps: list[tuple[str, str, Any]] = [
        ("PUT", "", {**x.layer, "position": 30, "stateful": True}),
        ("PUT", "/groups/g", _group(rule("all", {}, "allow", priority=65535))),
        ("PUT", "/groups/g/rules/r", {"priority": 65535, "match": SSH, "action": {"type": "allow"}}),
        ("DELETE", "/groups/g", None),
        ("DELETE", "", None),
        ("PUT", "", {**x.layer, "position": 0}),
    ]
    for method, part, body in steps:
        answer = x.call(method, x.path + part, body)
        assert answer.status in (200, 201), answer
        assert y.shown() == before

    lab.send(VM1, ssh, web)
    assert lab.wait_sent(VM2, 2) == [web, web]
    lab.settle()
    assert lab.sent(VM2) == [web, web]
    traced = lab.trace(VM1, {"ip_proto": "tcp", "eth_dst": VM2.mac, "ipv4_src": VM1.ip, "ipv4_dst": VM2.ip,
                             "l4_src": "5", "l4_dst": "22"})
    assert (traced["decided_by"]["layer"], traced["decided_by"]["rule"]) == ("y", "r"), traced


def test_no_token_touches_anothers_layer(lab: Lab, teams: tuple[Owner, Owner]) -> None:
    """M27: whatever a team tries on the other's layer is 403 and changes neither policy nor switch."""
    generation = lab.controller.client.get("/v1")["generation"]
    entries = lab.dump("h1")
    for one, other in (teams, teams[::-1]):
        before = other.shown()
        attempts: list[tuple[str, str, Any]] = [
            ("PUT", "", other.layer),
            ("PUT", "", one.layer),
            ("PUT", "/groups/g", _group()),
            ("PUT", "/groups/new", _group()),
            ("PUT", "/groups/g/rules/r", {"priority": 1, "match": {}, "action": {"type": "allow"}}),
            ("PUT", "/groups/g/rules/new", {"priority": 1, "match": {}, "action": {"type": "allow"}}),
            ("DELETE", "/groups/g/rules/r", None),
            ("DELETE", "/groups/g", None),
            ("DELETE", "", None),
        ]
        for method, part, body in attempts:
            for query in ("", "?dry_run=true"):
                answer = one.call(method, other.path + part + query, body)
                assert (answer.status, answer.body["type"]) == (403, "urn:vfswitch:problem:forbidden"), answer
                assert f"layer {other.name!r} belongs to owner {OWNERS[other.name]!r}" in answer.body["detail"]
        assert one.call("PUT", one.path, {**one.layer, "owner": OWNERS[other.name]}).status == 403
        assert one.call("PUT", "/v1/vports/vm1", {**VM1.vport, "ips": []}).status == 403
        assert one.call("DELETE", "/v1/vports/vm1").status == 403
        assert other.shown() == before
    assert lab.controller.client.get("/v1")["generation"] == generation
    assert {(entry.match, entry.actions) for entry in lab.dump("h1")} == {
        (entry.match, entry.actions) for entry in entries
    }


def test_owners_survive_a_restart(lab: Lab, teams: tuple[Owner, Owner]) -> None:
    """M27: after a restart every layer is still its owner's, and the token file is in force again."""
    x, y = teams
    before = y.shown()
    lab.controller.restart()
    lab.site.wait_ready()
    assert y.shown() == before
    assert x.call("DELETE", f"{y.path}/groups/g").status == 403
    assert y.call("DELETE", f"{y.path}/groups/g").status == 200
    assert RestClient(lab.controller.client.base_url).call("GET", y.path).status == 401

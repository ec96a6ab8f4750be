"""Bad input: each kind has its status and the path of every field at fault, and changes nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.ovs.packets import BROADCAST
from tests.ovs.scenario import Lab
from tests.ovs.site import Site
from tests.ovs.stations import VM1, VM2, rewrite, rule

WEB = {"ip_proto": "tcp", "l4_dst": 80}
GROUP = {"applies_to": "all", "direction": "outbound", "priority": 1, "rules": []}


def _vport(**changes: Any) -> dict[str, Any]:
    return {**VM2.vport, **changes}


def _group(**changes: Any) -> dict[str, Any]:
    return {**GROUP, **changes}


def _rules(*rules: object) -> dict[str, Any]:
    return _group(rules=list(rules))


def _without(body: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != name}


V, G = "vports/vm2", "layers/firewall/groups/web"

# What is sent where, with the status and the field paths that must come back.
CASES: dict[str, tuple[str, dict[str, Any], int, list[str]]] = {
    "unknown-field": (V, _vport(colour="red"), 422, ["colour"]),
    "unknown-nested-field": (G, _rules({**rule("a", WEB), "speed": 1}), 422, ["rules[0].speed"]),
    "missing-field": (V, _without(VM2.vport, "mac"), 422, ["mac"]),
    "wrong-type": (V, _vport(vlan="102"), 422, ["vlan"]),
    "wrong-type-in-list": (V, _vport(ips=["10.0.0.2", 7]), 422, ["ips[1]"]),
    "boolean-for-number": (V, _vport(vlan=True), 422, ["vlan"]),
    "several-at-once": (V, _vport(mac="nonsense", vlan=5000, ips=["300.0.0.1"], extra=1), 422,
                        ["extra", "ips[0]", "mac", "vlan"]),
    "vlan-zero": (V, _vport(vlan=0), 422, ["vlan"]),
    "vlan-reserved": (V, _vport(vlan=4095), 422, ["vlan"]),
    "group-mac": (V, _vport(mac="01:00:5e:00:00:01"), 422, ["mac"]),
    "prefix-for-address": (V, _vport(ips=["10.0.0.0/24"]), 422, ["ips[0]"]),
    "same-address-twice": (V, _vport(ips=["10.0.0.2", "10.0.0.2"]), 422, ["ips[1]"]),
    "overlapping-vlan": (V, _vport(vlan=VM1.vlan), 409, ["vlan"]),
    "overlapping-mac": (V, _vport(mac=VM1.mac), 409, ["mac"]),
    "overlapping-port": (V, _vport(port=VM1.port), 409, ["port"]),
    "segments-vlan": (V, _vport(vlan=200), 409, ["vlan"]),
    "segment-with-a-vfs-vlan": ("segments/green", {"tenant": "red", "vlan": VM1.vlan}, 409, ["vlan"]),
    "port-not-on-the-switch": (V, _vport(port="h1-vf77"), 422, ["port"]),
    "uplink-for-a-vf": (V, _vport(port="h1-uplink"), 422, ["port"]),
    "unknown-host": (V, _vport(host="h9"), 422, ["host"]),
    "unknown-tenant": (V, _vport(tenant="nobody", segment="red"), 422, ["segment", "tenant"]),
    "unknown-segment": (V, _vport(segment="nowhere"), 422, ["segment"]),
    "trunk-of-a-vf": (V, _vport(trunk=[200]), 422, ["trunk"]),
    "trunk-without-vlans": (V, _vport(kind="trunk"), 422, ["trunk"]),
    "trunk-of-unknown-vlan": (V, _vport(kind="trunk", trunk=[200, 777]), 422, ["trunk[1]"]),
    "group-for-unknown-vport": (G, _group(applies_to={"vport": "ghost"}), 422, ["applies_to.vport"]),
    "group-for-unknown-tenant": (G, _group(applies_to={"tenant": "ghost"}), 422, ["applies_to.tenant"]),
    "group-for-both": (G, _group(applies_to={"vport": "vm1", "tenant": "red"}), 422, ["applies_to"]),
    "group-of-unknown-layer": ("layers/ghost/groups/web", GROUP, 404, []),
    "unknown-direction": (G, _group(direction="sideways"), 422, ["direction"]),
    "unknown-match-field": (G, _rules(rule("a", {"tcp_dst": 80})), 422, ["rules[0].match.tcp_dst"]),
    "port-without-protocol": (G, _rules(rule("a", {"l4_dst": 80})), 422, ["rules[0].match.l4_dst"]),
    "port-out-of-range": (G, _rules(rule("a", {"ip_proto": "tcp", "l4_dst": 70000})), 422, ["rules[0].match.l4_dst"]),
    "empty-range": (G, _rules(rule("a", {"ip_proto": "tcp", "l4_dst": "90-80"})), 422, ["rules[0].match.l4_dst"]),
    "host-bits-set": (G, _rules(rule("a", {"ipv4_dst": "10.0.0.1/24"})), 422, ["rules[0].match.ipv4_dst"]),
    "contradiction": (G, _rules(rule("a", {"ipv4_dst": "10.0.0.1", "ipv6_dst": "fd00::1"})), 422, ["rules[0].match"]),
    "unknown-action": (G, _rules(rule("a", WEB, "explode")), 422, ["rules[0].action.type"]),
    "rewrite-of-nothing": (G, _rules(rule("a", WEB, {"type": "rewrite", "set": {}})), 422, ["rules[0].action.set"]),
    "rewrite-of-unsettable": (G, _rules(rule("a", WEB, {"type": "rewrite", "set": {"ip_proto": "udp"}})), 422,
                              ["rules[0].action.set.ip_proto"]),
    "rewrite-of-other-family": (
        G, _rules(rule("a", {"eth_type": "ipv4"}, {"type": "rewrite", "set": {"ipv6_dst": "fd00::1"}})), 422,
        ["rules[0].action.set.ipv6_dst"],
    ),
    "nat-without-sides": (G, _rules(rule("a", WEB, {"type": "nat"})), 422, ["rules[0].action"]),
    "same-rule-twice": (G, _rules(rule("a", WEB), rule("a", {})), 422, ["rules[1].id"]),
    "timeout-zero": (G, _rules(rule("a", WEB, idle_timeout_s=0)), 422, ["rules[0].idle_timeout_s"]),
    "bad-id": ("tenants/a%20b", {}, 422, ["id"]),
    "rule-of-unknown-group": ("layers/firewall/groups/ghost/rules/a", _without(rule("a", WEB), "id"), 404, []),
    "route-to-both": ("routes/r", {"segment": "red", "eth_dst": VM2.mac, "vport": "vm1", "to": "uplink"}, 422, ["to"]),
    "route-to-unknown-vport": ("routes/r", {"segment": "red", "eth_dst": VM2.mac, "vport": "ghost"}, 422, ["vport"]),
    "bad-dpid": ("hosts/h9", {"dpid": "xyz"}, 422, ["dpid"]),
    "dpid-zero": ("hosts/h9", {"dpid": "0"}, 422, ["dpid"]),
    "vport-at-the-switch-itself": (V, _vport(port="h1"), 422, ["port"]),
    "rewrite-to-groups": (
        G, _rules(rule("a", {}, rewrite(eth_src="01:00:5e:00:00:01", eth_dst=BROADCAST))), 422,
        ["rules[0].action.set.eth_dst", "rules[0].action.set.eth_src"],
    ),
    "nat-to-a-port-of-no-protocol": (
        G, _rules(rule("a", {}, {"type": "nat", "source": {"ip": "10.0.0.9", "port": 9}})), 422,
        ["rules[0].action.source.port"],
    ),
    "negative-port": (G, _rules(rule("a", {"ip_proto": "tcp", "l4_dst": -1})), 422, ["rules[0].match.l4_dst"]),
    "uplink-not-on-the-switch": ("hosts/h1", {"dpid": "1", "uplink": "eth77"}, 422, ["uplink"]),
    "not-an-object": (V, [], 422, [""]),  # type: ignore[dict-item]
}  # fmt: skip


@pytest.fixture(scope="module")
def ready(site: Site) -> Lab:
    """Return the site with one VM and one layer, for all tests of this file: none of them changes anything."""
    lab = Lab(site).tenant(VM1)
    lab.layer("firewall")
    return lab


def _everything(lab: Lab) -> tuple[object, ...]:
    kinds = ("hosts", "tenants", "segments", "vports", "routes", "layers", "layers/firewall/groups")
    shown = [json.dumps(lab.get(kind)["items"], sort_keys=True) for kind in kinds]
    entries = sorted((entry.table, entry.match, entry.actions, entry.cookie) for entry in lab.ovs.dump_flows("h1"))
    return (*shown, entries, lab.get("stats")["generation"])


@pytest.mark.parametrize("case", CASES)
def test_wrong_values_name_their_fields(ready: Lab, case: str) -> None:
    """S01: what cannot be accepted is refused with its status and every field's path, and nothing has changed."""
    path, body, status, fields = CASES[case]
    before = _everything(ready)

    answer = ready.rest("PUT", path, body)

    assert answer.status == status, answer
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert sorted(error["path"] for error in answer.body["errors"]) == fields
    assert answer.body["status"] == status
    assert _everything(ready) == before


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("PUT", "tenants/x", b"{not json", {}, 400),
        ("PUT", "tenants/x", b'{"a": NaN}', {}, 400),
        ("PUT", "tenants/x", b'{"a": 1, "a": 2}', {}, 400),
        ("PUT", "tenants/x", b"\xff\xfe", {}, 400),
        ("PUT", "tenants/x", b"[" * 100_000, {}, 400),
        ("PUT", "tenants/x", b"", {}, 400),
        ("PUT", "tenants/x?dry_run=maybe", b"{}", {}, 400),
        ("GET", "vports?limit=0", None, {}, 400),
        ("GET", "vports?colour=red", None, {}, 400),
        ("GET", "flows?vport=ghost", None, {}, 404),
        ("GET", "vports/ghost", None, {}, 404),
        ("DELETE", "vports/ghost", None, {}, 404),
        ("GET", "nothing/here", None, {}, 404),
        ("POST", "vports/x", b"{}", {}, 405),
        ("PATCH", "tenants", b"{}", {}, 405),
        ("DELETE", "stats", None, {}, 405),
        ("PUT", "tenants/x", b" " * (9 << 20), {}, 413),
        ("PUT", "tenants/x", b"{}", {"Content-Type": "text/plain"}, 415),
        ("PUT", "tenants/x", b"{}", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ("DELETE", "tenants/red", None, {}, 409),
        ("DELETE", "hosts/h1", None, {}, 409),
    ],
)
def test_wrong_requests_have_their_status(
    ready: Lab, method: str, path: str, body: bytes | None, headers: dict[str, str], status: int
) -> None:
    """S01: what is wrong as HTTP or does not exist is refused by its status as a problem, and nothing has changed."""
    before = _everything(ready)

    answer = ready.rest(method, path, body, headers)

    assert answer.status == status, answer
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.body["status"] == status
    assert "Traceback" not in json.dumps(answer.body)
    assert (answer.headers.get("Allow") is not None) == (status == 405)
    assert _everything(ready) == before


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"vport": "ghost", "direction": "outbound", "packet": {}}, ["vport"]),
        ({"vport": "vm1", "direction": "up", "packet": {}}, ["direction"]),
        ({"vport": "vm1", "direction": "outbound", "packet": {"colour": "red"}}, ["packet.colour"]),
        ({"vport": "vm1", "direction": "outbound", "packet": {"ipv4_dst": "10.0.0.0/24"}}, ["packet.ipv4_dst"]),
        ({"vport": "vm1", "direction": "outbound", "packet": {"arp_op": 1, "l4_dst": 5}}, ["packet.l4_dst"]),
        ({"vport": "vm1", "direction": "outbound"}, ["packet"]),
    ],
)
def test_trace_of_what_is_no_packet_is_refused(ready: Lab, body: dict[str, Any], fields: list[str]) -> None:
    """M24: a trace of an impossible packet is refused with the path of the field at fault."""
    answer = ready.rest("POST", "trace", body)

    assert answer.status == 422, answer
    assert sorted(error["path"] for error in answer.body["errors"]) == fields


def test_resource_in_use_says_by_whom(ready: Lab) -> None:
    """S01: what others refer to is not deleted, and the refusal names them."""
    ready.group("web", "outbound", rule("a", WEB), applies_to={"vport": "vm1"})
    try:
        users = {"vports/vm1": "firewall/web", "layers/firewall": "firewall/web", "segments/red": "vm1"}
        for path, user in users.items():
            answer = ready.rest("DELETE", path)
            assert answer.status == 409
            assert any(user in error["message"] for error in answer.body["errors"]), answer.body
    finally:
        ready.delete("layers/firewall/groups/web")

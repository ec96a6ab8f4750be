"""NAT pools against the rest of the policy: what cannot be is refused with the field at fault."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ryu_apps.model.checks import check
from ryu_apps.model.documents import from_document, to_document
from ryu_apps.model.errors import Conflict, Invalid, VfswitchError
from ryu_apps.model.policy import Change, Snapshot


def put(kind: str, key: Any, /, **document: Any) -> Change:
    """Return the change that puts a resource given by its document."""
    return Change(kind=kind, key=key, value=from_document(kind, key, document))


def vport(name: str, number: int, **alteration: Any) -> Change:
    """Return the change that puts a VF of tenant red on host h1."""
    base = {"host": "h1", "port": f"vf{number}", "tenant": "red", "mac": f"02:00:00:00:00:{number:02x}", "vlan": number}
    return put("vports", name, **{**base, **alteration})


def pool(name: str = "p", **alteration: Any) -> Change:
    """Return the change that puts a pool."""
    base = {"segment": "red", "host": "h1", "addresses": ["10.0.0.200-10.0.0.203"], "mac": "02:fa:00:00:00:01"}
    return put("nat_pools", name, **{**base, **alteration})


def rule(name: str = "p", direction: str = "outbound", scope: object = None) -> Change:
    """Return the change that puts a group whose rule takes sources from a pool, for vm1 unless told otherwise."""
    action = {"type": "nat", "source": {"pool": name}}
    rules = [{"id": "out", "priority": 1, "match": {"eth_type": "ipv4"}, "action": action}]
    return put("groups", ("nat", "g"), applies_to=scope or {"vport": "vm1"}, direction=direction, priority=1,
               rules=rules)  # fmt: skip


NETWORK = (
    put("hosts", "h1", dpid="1", uplink="up"),
    put("hosts", "h2", dpid="2", uplink="up"),
    put("hosts", "bare", dpid="3"),
    put("tenants", "red"),
    put("segments", "red", tenant="red", vlan=0, number=1),
    put("segments", "own", tenant="red", vlan=None, number=2),
    put("segments", "lab", tenant="red", vlan=200, number=3),
    vport("vm1", 1, ips=["10.0.0.1"]),
    vport("far", 2, host="h2"),
    vport("trunk", 3, kind="trunk", trunk=["lab"]),
    put("routes", "gw", segment="red", eth_dst="02:00:00:00:00:99", to="uplink"),
    put("layers", "nat", position=1),
)


@pytest.mark.parametrize(
    ("changes", "error", "paths"),
    [
        ([pool(host="h9", segment="none")], Invalid, {"host", "segment"}),
        ([pool(host="bare")], Invalid, {"host"}),
        ([pool(segment="own")], Invalid, {"segment"}),
        ([pool(addresses=["10.0.0.0-10.0.0.9"])], Conflict, {"addresses"}),
        ([pool(mac="02:00:00:00:00:01")], Conflict, {"mac"}),
        ([pool(mac="02:00:00:00:00:99")], Conflict, {"mac"}),
        ([pool(), pool("q", mac="02:fa:00:00:00:02", addresses=["10.0.0.203"])], Conflict, {"addresses[0]"}),
        ([pool(), pool("q", addresses=["10.0.0.204"])], Conflict, {"mac"}),
        ([pool(), vport("vm1", 1, ips=["10.0.0.201"])], Conflict, {"addresses"}),
        ([rule()], Invalid, {"rules[out].action.source.pool"}),
        ([pool(), rule(direction="inbound")], Invalid, {"rules[out].action.source.pool"}),
        ([pool(), rule(scope="all")], Invalid, {"rules[out].action.source.pool"}),
        ([pool(), rule(scope={"vport": "far"})], Invalid, {"rules[out].action.source.pool"}),
        ([pool(), rule(scope={"vport": "trunk"})], Invalid, {"rules[out].action.source.pool"}),
    ],
)
def test_refused(changes: list[Change], error: type[VfswitchError], paths: set[str]) -> None:
    """M23: a pool that nobody could reach, one with another's address, and a rule that it cannot serve are refused."""
    before = check(Snapshot(), NETWORK)
    with pytest.raises(error) as caught:
        check(before, changes)
    assert {fault.path for fault in caught.value.errors} == paths


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (Change(kind="nat_pools", key="p", value=None), "id"),
        (Change(kind="hosts", key="h1", value=None), "id"),
        (pool(host="h2"), "host"),
        (pool(segment="lab"), "segment"),
        (put("hosts", "h1", dpid="1"), "uplink"),
        (put("segments", "red", tenant="red", vlan=None, number=1), "vlan"),
        (vport("vm1", 1, host="h2"), "host"),
        (vport("vm1", 1, segment="lab"), "segment"),
        (vport("vm1", 1, kind="trunk", trunk=["lab"]), "trunk"),
        (vport("vm2", 4, ips=["10.0.0.9", "10.0.0.202"]), "ips[1]"),
        (vport("vm2", 4, mac="02:fa:00:00:00:01"), "mac"),
        (put("routes", "r", segment="red", eth_dst="02:fa:00:00:00:01", to="uplink"), "eth_dst"),
    ],
)
def test_a_pool_in_use_stays_fit_for_its_rules(change: Change, path: str) -> None:
    """M23: what would take a pool from its rules, or its address or MAC, is refused with the field at fault."""
    before = check(Snapshot(), (*NETWORK, pool(), rule()))
    # Among several changes of one request, the fault is that of the one which does it.
    for changes, where in (([change], path), ([put("tenants", "x"), replace(change, path="item.")], f"item.{path}")):
        with pytest.raises(Conflict) as caught:
            check(before, changes)
        assert {fault.path for fault in caught.value.errors} == {where if change.value is not None else "id"}


_OTHERS = (put("hosts", "h3", dpid="4", uplink="up", tunnel="vx"), vport("vm2", 4), vport("vm3", 5, host="h3"))


@pytest.mark.parametrize(
    ("action", "scope", "change", "path"),
    [
        ({"type": "mirror", "vport": "vm2"}, "vm1", vport("vm2", 4, host="h2"), "host"),
        ({"type": "mirror", "vport": "vm2"}, "vm1", vport("vm1", 1, host="h2"), "host"),
        ({"type": "route", "vport": "vm2"}, "vm1", vport("vm2", 4, segment="lab"), "segment"),
        ({"type": "encapsulate", "remote_ip": "172.16.0.2", "vni": 7}, "vm3", vport("vm3", 5), "host"),
        ({"type": "encapsulate", "remote_ip": "172.16.0.2", "vni": 7}, "vm3",
         put("hosts", "h3", dpid="4", uplink="up"), "tunnel"),
        ({"type": "push_vlan", "vlan": 7}, "own", put("segments", "own", tenant="red", vlan=0, number=2), "vlan"),
        ({"type": "push_vlan", "vlan": 7}, "own", vport("own", 6, segment="red"), "segment"),
        ({"type": "pop_vlan"}, "own", vport("own", 6, kind="trunk", trunk=["lab"]), "kind"),
    ],
)  # fmt: skip
def test_what_takes_from_rules_what_they_need_is_named(
    action: dict[str, Any], scope: str, change: Change, path: str
) -> None:
    """M23: a change that a rule cannot do with is refused with the field of the changed resource that does it."""
    rules = [{"id": "r", "priority": 1, "match": {}, "action": action}]
    group = put("groups", ("nat", "g"), applies_to={"vport": scope}, direction="outbound", priority=1, rules=rules)
    before = check(Snapshot(), (*NETWORK, *_OTHERS, vport("own", 6, segment="own"), group))
    with pytest.raises(Conflict) as caught:
        check(before, [change])
    assert [fault.path for fault in caught.value.errors] == [path]


def test_a_pool_that_no_rule_names_can_go() -> None:
    """M23: a pool is deleted, and then its host and segment too, once no rule names it."""
    before = check(Snapshot(), (*NETWORK, pool(), rule()))
    gone = [Change(kind="groups", key=("nat", "g"), value=None), Change(kind="nat_pools", key="p", value=None)]
    assert not check(before, gone).nat_pools


@pytest.mark.parametrize(
    ("alteration", "paths"),
    [
        ({"addresses": ["10.0.0.5-10.0.0.1"]}, {"addresses[0]"}),
        ({"addresses": ["10.0.0.1-fd00::1"]}, {"addresses[0]"}),
        ({"addresses": ["10.0.0.1/24", "moon"]}, {"addresses[0]", "addresses[1]"}),
        ({"addresses": ["224.0.0.1", "0.0.0.0/8"]}, {"addresses[0]", "addresses[1]"}),
        ({"addresses": ["10.0.0.1", "10.0.0.0/30"]}, {"addresses[1]"}),
        ({"ports": "0-5", "mac": "ff:ff:ff:ff:ff:ff"}, {"ports", "mac"}),
        ({"addresses": ["100.0.1.1-250.0.0.0", "127.0.0.1", "240.0.0.1", "::1", "fe80::1", "::ffff:10.0.0.1"]},
         {f"addresses[{number}]" for number in range(6)}),
        ({"addresses": ["10.0.0.0/0.0.0.255"]}, {"addresses[0]"}),
        ({"ports": "0x400-0x500"}, {"ports"}),
        ({"ports": " 4000 - 4001 "}, {"ports"}),
        ({"ports": "5-4"}, {"ports"}),
        ({"ports": "65536"}, {"ports"}),
    ],
)
def test_documents_that_are_no_pool(alteration: dict[str, Any], paths: set[str]) -> None:
    """A pool's document is refused with the path of every address, port and MAC that cannot be."""
    with pytest.raises(Invalid) as caught:
        pool(**alteration)
    assert {fault.path for fault in caught.value.errors} == paths


def test_a_document_comes_back() -> None:
    """A pool is what its document says, with a MAC that follows from its id and the usual ports where none is given."""
    written = {"segment": "red", "host": "h1", "addresses": ["10.0.0.200/30", "fd00::1-fd00::9", "10.0.0.9"]}
    made = from_document("nat_pools", "p", written)
    document = to_document(made)
    assert document["addresses"] == ["10.0.0.200-10.0.0.203", "fd00::1-fd00::9", "10.0.0.9"]
    assert (document["ports"], document["most_per_vport"], document["rest_s"]) == ("1024-65535", None, 10)
    assert document["mac"].startswith("02:fa:") and from_document("nat_pools", "p", document) == made


@pytest.mark.parametrize(
    ("action", "match", "path"),
    [
        ({"source": {"pool": "p", "port": 5}}, {}, "action.source"),
        ({"source": {}}, {}, "action.source.ip"),
        ({"source": {"pool": "p"}}, {"eth_type": "arp"}, "action.source.pool"),
        ({"source": {"pool": "p"}, "destination": {"ip": "moon"}}, {}, "action.destination.ip"),
    ],
)
def test_actions_that_are_no_translation(action: dict[str, Any], match: dict[str, str], path: str) -> None:
    """A rule takes a pool alone or an address, for packets that have one."""
    with pytest.raises(Invalid) as caught:
        put("rules", ("nat", "g", "r"), priority=1, match=match, action={"type": "nat", **action})
    assert path in {fault.path for fault in caught.value.errors}

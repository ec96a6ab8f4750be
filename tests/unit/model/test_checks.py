"""What may not stand in one policy together."""

from __future__ import annotations

from typing import Any

import pytest

from ryu_apps.model.checks import check
from ryu_apps.model.documents import from_document
from ryu_apps.model.errors import Conflict, Invalid, NotFound, VfswitchError
from ryu_apps.model.policy import Change, Snapshot

Key = Any


def put(kind: str, key: Key, /, **document: Any) -> Change:
    """Return the change that puts a document."""
    return Change(kind=kind, key=key, value=from_document(kind, key, document))


def delete(kind: str, key: Key) -> Change:
    """Return the change that deletes."""
    return Change(kind=kind, key=key, value=None)


def vport(name: str, number: int, **alteration: Any) -> Change:
    """Return the change that puts a vport of tenant red on host h1."""
    base = {"host": "h1", "port": f"vf{number}", "tenant": "red", "mac": f"02:00:00:00:00:{number:02x}", "vlan": number}
    return put("vports", name, **{**base, **alteration})


ALLOW = {"priority": 1, "match": {}, "action": {"type": "allow"}}
BASE = (
    put("hosts", "h1", dpid="1", uplink="up"),
    put("tenants", "red"),
    put("tenants", "blue"),
    put("segments", "red", tenant="red", vlan=None, number=1),
    put("segments", "blue", tenant="blue", vlan=300, number=2),
    put("segments", "lab", tenant="red", vlan=200, number=3),
    vport("vm1", 1),
    vport("trunk", 2, kind="trunk", trunk=["lab"], synthetic="syn2"),
    put("routes", "r1", segment="red", eth_dst="02:00:00:00:00:99", vport="vm1"),
    put("layers", "fw", position=1),
    put("groups", ("fw", "web"), applies_to={"vport": "vm1"}, direction="inbound", priority=1, rules=[]),
    put("rules", ("fw", "web", "a"), **ALLOW),
)


@pytest.fixture
def policy() -> Snapshot:
    """Return a policy with one of everything."""
    return check(Snapshot(), BASE)


@pytest.mark.parametrize(
    ("change", "error", "paths"),
    [
        (put("hosts", "h2", dpid="1"), Conflict, {"dpid"}),
        (put("hosts", "h1", dpid="1", uplink="vf1"), Conflict, {"uplink"}),
        (put("hosts", "h1", dpid="1", uplink="syn2"), Conflict, {"uplink"}),
        (put("hosts", "h1", dpid="1", uplink="up", tunnel="syn2"), Conflict, {"tunnel"}),
        (put("segments", "s", tenant="none", vlan=None, number=9), Invalid, {"tenant"}),
        (put("segments", "s", tenant="red", vlan=200, number=9), Conflict, {"vlan"}),
        (put("segments", "s", tenant="red", vlan=1, number=9), Conflict, {"vlan"}),
        (put("segments", "s", tenant="red", vlan=None, number=3), Conflict, {"number"}),
        (put("segments", "lab", tenant="red", vlan=None, number=3), Conflict, {"vlan"}),
        (put("segments", "red", tenant="blue", vlan=None, number=1), Conflict, {"tenant"}),
        (vport("vm2", 3, host="h9"), Invalid, {"host"}),
        (vport("vm2", 3, port="up"), Invalid, {"port"}),
        (vport("vm2", 3, tenant="none"), Invalid, {"tenant", "segment"}),
        (vport("vm2", 3, segment="blue"), Invalid, {"segment"}),
        (vport("vm2", 3, kind="trunk", trunk=["red"]), Invalid, {"trunk"}),
        (vport("vm2", 3, port="vf1"), Conflict, {"port"}),
        (vport("vm2", 3, port="syn2"), Conflict, {"port"}),
        (vport("vm2", 3, synthetic="up"), Invalid, {"synthetic"}),
        (vport("vm2", 3, synthetic="vf1"), Conflict, {"synthetic"}),
        (vport("vm2", 3, synthetic="syn2"), Conflict, {"synthetic"}),
        (vport("vm2", 3, vlan=1), Conflict, {"vlan"}),
        (vport("vm2", 3, vlan=200), Conflict, {"vlan"}),
        (vport("vm2", 3, mac="02:00:00:00:00:01"), Conflict, {"mac"}),
        (vport("vm1", 1, segment="lab"), Conflict, {"segment"}),
        (put("routes", "r2", segment="x", eth_dst="02:00:00:00:00:98", vport="y"), Invalid, {"segment", "vport"}),
        (put("routes", "r2", segment="lab", eth_dst="02:00:00:00:00:98", vport="vm1"), Invalid, {"vport"}),
        (put("routes", "r2", segment="red", eth_dst="02:00:00:00:00:99", to="uplink"), Conflict, {"eth_dst"}),
        (put("groups", ("no", "g"), direction="inbound", priority=1, rules=[]), Invalid, {"layer"}),
        (
            put("groups", ("fw", "g"), applies_to={"tenant": "x"}, direction="inbound", priority=1, rules=[]),
            Invalid,
            {"applies_to.tenant"},
        ),
        (delete("hosts", "h1"), Conflict, {"id"}),
        (delete("tenants", "red"), Conflict, {"id"}),
        (delete("segments", "lab"), Conflict, {"id"}),
        (delete("vports", "vm1"), Conflict, {"id"}),
        (delete("layers", "fw"), Conflict, {"id"}),
        (delete("vports", "vm9"), NotFound, set()),
        (delete("rules", ("fw", "web", "b")), NotFound, set()),
        (delete("rules", ("fw", "no", "a")), NotFound, set()),
        (put("rules", ("fw", "no", "a"), **ALLOW), NotFound, set()),
    ],
)
def test_refused(policy: Snapshot, change: Change, error: type[VfswitchError], paths: set[str]) -> None:
    """A change that contradicts the policy is refused with the fields at fault."""
    with pytest.raises(error) as caught:
        check(policy, [change])
    assert {fault.path for fault in caught.value.errors} == paths


NAT = {"type": "nat", "source": {"ip": "10.0.0.9"}}
ONLY_REWRITE = {"actions": ["rewrite"]}
DEMANDING = {"priority": 1, "match": {}, "action": NAT, "offload": "on"}


@pytest.mark.parametrize(
    ("change", "paths"),
    [
        (put("rules", ("fw", "web", "n"), **DEMANDING), {"offload"}),
        (
            put("groups", ("fw", "out"), direction="outbound", priority=1, rules=[{"id": "n", **DEMANDING}]),
            {"rules[n].offload"},
        ),
    ],
)
def test_a_rule_that_demands_what_a_nic_cannot_do_is_refused(
    policy: Snapshot, change: Change, paths: set[str]
) -> None:
    """S14: `offload` on is an error where a NIC that the rule applies to does not support its action."""
    check(policy, [change])
    limited = check(policy, [put("hosts", "h1", dpid="1", uplink="up", limits=ONLY_REWRITE)])
    with pytest.raises(Invalid) as caught:
        check(limited, [change])
    assert {fault.path for fault in caught.value.errors} == paths


def test_a_nic_that_cannot_do_what_a_rule_demands_is_refused(policy: Snapshot) -> None:
    """S14: neither a host's limits nor a vport's move may leave a rule with `offload` on impossible."""
    demanding = check(policy, [put("rules", ("fw", "web", "n"), **DEMANDING)])
    with pytest.raises(Conflict) as caught:
        check(demanding, [put("hosts", "h1", dpid="1", uplink="up", limits=ONLY_REWRITE)])
    assert [fault.path for fault in caught.value.errors] == ["limits.actions"]
    elsewhere = check(demanding, [put("hosts", "h2", dpid="2", limits=ONLY_REWRITE)])
    with pytest.raises(Conflict) as caught:
        check(elsewhere, [vport("vm1", 1, host="h2")])
    assert [fault.path for fault in caught.value.errors] == ["host"]


def test_same_mac_in_another_segment(policy: Snapshot) -> None:
    """Two vports may have one MAC when they share no segment."""
    change = vport("vm2", 3, tenant="blue", mac="02:00:00:00:00:01")
    assert check(policy, [change]).vports["vm2"].segment == "blue"


def test_rules_of_one_change(policy: Snapshot) -> None:
    """Several rules of one group, and the group itself, may change together in their order."""
    changes = [
        put("rules", ("fw", "web", "b"), **ALLOW),
        delete("rules", ("fw", "web", "a")),
        put("groups", ("fw", "new"), direction="outbound", priority=1, rules=[]),
        put("rules", ("fw", "new", "c"), **ALLOW),
    ]
    after = check(policy, changes)
    assert set(after.groups["fw", "web"].rules) == {"b"}
    assert set(after.groups["fw", "new"].rules) == {"c"}
    assert after.generation == policy.generation + 1


def test_everything_goes_in_one_change(policy: Snapshot) -> None:
    """Resources that refer to each other may be deleted together."""
    kinds = ("routes", "groups", "layers", "vports", "segments", "tenants", "hosts")
    changes = [delete(kind, key) for kind in kinds for key in getattr(policy, kind)]
    after = check(policy, changes)
    assert all(not getattr(after, kind) for kind in kinds)

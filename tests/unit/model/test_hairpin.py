"""What may not stand together where a host has a hairpin."""

from __future__ import annotations

from typing import Any

import pytest

from ryu_apps.model.checks import check
from ryu_apps.model.documents import from_document
from ryu_apps.model.errors import Conflict, Invalid, VfswitchError
from ryu_apps.model.policy import Change, Snapshot


def put(kind: str, key: Any, /, **document: Any) -> Change:
    """Return the change that puts a document."""
    return Change(kind=kind, key=key, value=from_document(kind, key, document))


def delete(kind: str, key: str) -> Change:
    """Return the change that deletes."""
    return Change(kind=kind, key=key, value=None)


def host(number: int, **alteration: Any) -> Change:
    """Return the change that puts a host with a hairpin."""
    hairpin = {
        "cable": "cable",
        "function_port": {"dpid": f"1{number}", "cable": "f-cable"},
        "network_port": {"dpid": f"2{number}", "uplink": "up"},
    }
    return put("hosts", f"h{number}", **{"dpid": str(number), "hairpin": hairpin, **alteration})


def vport(name: str, number: int, **alteration: Any) -> Change:
    """Return the change that puts a VF of tenant red on host h1, with its sub-interface."""
    base = {"host": "h1", "port": f"vf{number}", "tenant": "red", "mac": f"02:00:00:00:00:{number:02x}",
            "vlan": 100 + number, "subinterface": f"f-vf{number}"}  # fmt: skip
    return put("vports", name, **{**base, **alteration})


def outlet(name: str, **alteration: Any) -> Change:
    """Return the change that puts an outlet of host h1."""
    return put("outlets", name, **{"host": "h1", "segment": "red", "port": "n-red", **alteration})


def rule(action: dict[str, Any]) -> Change:
    """Return the change that puts a group of one rule for all that VMs send."""
    rules = [{"id": "r", "priority": 1, "match": {}, "action": action}]
    return put("groups", ("fw", "g"), direction="outbound", priority=1, rules=rules)


BASE = (
    host(1),
    put("hosts", "plain", dpid="9", uplink="up"),
    put("tenants", "red"),
    put("segments", "red", tenant="red", vlan=0, number=1),
    put("segments", "lab", tenant="red", vlan=200, number=2),
    put("segments", "own", tenant="red", vlan=None, number=3),
    vport("vm1", 1),
    vport("vm2", 2),
    put("vports", "vm9", host="plain", port="vf9", tenant="red", mac="02:00:00:00:00:09", vlan=109),
    outlet("o1"),
    put("layers", "fw", position=1),
)


@pytest.fixture
def policy() -> Snapshot:
    """Return a policy of a host with a hairpin and one without."""
    return check(Snapshot(), BASE)


NO_NETWORK = {"cable": "cable", "function_port": {"dpid": "11", "cable": "f-cable"}}
STEERED = {"steering": "mac", "network_port": {"dpid": "21", "uplink": "up"}}


@pytest.mark.parametrize(
    ("change", "error", "paths"),
    [
        (host(2, uplink="up"), Invalid, {"uplink"}),
        (host(2, tunnel="vx"), Invalid, {"tunnel"}),
        (host(2, miss="vm"), Invalid, {"miss"}),
        (vport("vm3", 3, synthetic="syn3"), Invalid, {"synthetic"}),
        (host(2, dpid="12"), Invalid, {"hairpin.function_port.dpid"}),
        (host(2, dpid="11"), Conflict, {"dpid"}),
        (host(2, hairpin={**NO_NETWORK, "function_port": {"dpid": "9", "cable": "c"}}), Conflict,
         {"hairpin.function_port.dpid"}),
        (vport("vm3", 3, subinterface=None), Invalid, {"subinterface"}),
        (vport("vm3", 3, subinterface="f-cable"), Invalid, {"subinterface"}),
        (vport("vm3", 3, subinterface="f-vf1"), Conflict, {"subinterface"}),
        (vport("vm3", 3, vlan=101), Conflict, {"vlan"}),
        (vport("vm3", 3, port="cable"), Invalid, {"port"}),
        (vport("vm3", 3, kind="trunk", trunk=["lab"]), Invalid, {"kind"}),
        (vport("vm3", 3, host="plain"), Invalid, {"subinterface"}),
        (outlet("o1", macs=["02:aa:00:00:00:01", "02:00:00:00:00:09"]), Conflict, {"macs[1]"}),
        (outlet("o2", segment="lab"), Conflict, {"port"}),
        (outlet("o2", port="n-x"), Conflict, {"segment"}),
        (outlet("o2", segment="own", port="n-x"), Invalid, {"segment"}),
        (outlet("o2", segment="lab", port="up"), Invalid, {"port"}),
        (outlet("o2", host="plain", segment="lab"), Invalid, {"host"}),
        (outlet("o2", host="h7", segment="s7"), Invalid, {"host", "segment"}),
        (host(1, hairpin=NO_NETWORK), Conflict, {"hairpin"}),
        (put("hosts", "h1", dpid="1", uplink="up"), Conflict, {"hairpin"}),
        (host(9, dpid="9", hairpin=None), Conflict, {"dpid"}),
        (put("segments", "red", tenant="red", vlan=None, number=1), Conflict, {"vlan"}),
        (delete("segments", "red"), Conflict, {"id"}),
        (rule({"type": "route", "vport": "vm2"}), Invalid, {"rules[r].action.vport"}),
        (put("groups", ("fw", "g"), direction="inbound", priority=1,
             rules=[{"id": "r", "priority": 1, "match": {}, "action": {"type": "skip_chain"}}]),
         Invalid, {"rules[r].action"}),
        (rule({"type": "encapsulate", "remote_ip": "10.0.0.9", "vni": 1}), Invalid, {"rules[r].action.remote_ip"}),
    ],
)  # fmt: skip
def test_refused(policy: Snapshot, change: Change, error: type[VfswitchError], paths: set[str]) -> None:
    """H01: what would give a frame two ways, or none, or a VLAN two sub-interfaces is refused, with the fields."""
    with pytest.raises(error) as caught:
        check(policy, [change])
    assert {fault.path for fault in caught.value.errors} == paths


@pytest.mark.parametrize(
    ("change", "error", "paths"),
    [
        (host(1, hairpin={**STEERED, "network_port": {"dpid": "1", "uplink": "up"}}), Invalid,
         {"hairpin.network_port.dpid"}),
        (host(1, hairpin={**STEERED, "network_port": {"dpid": "9", "uplink": "up"}}), Conflict,
         {"hairpin.network_port.dpid"}),
        (host(1, hairpin={"steering": "mac"}), Conflict, {"hairpin"}),
        (host(1, hairpin=STEERED, uplink="up"), Invalid, {"uplink"}),
        (vport("vm3", 3, subinterface=None), Invalid, {"subinterface"}),
        (vport("vm3", 3, subinterface="vf3"), Invalid, {"subinterface"}),
        (vport("vm3", 3, subinterface="vf1"), Conflict, {"subinterface"}),
        (vport("vm3", 3, subinterface="f-vf1"), Conflict, {"subinterface"}),
        (vport("vm3", 3, port="f-vf1"), Conflict, {"port"}),
        (vport("vm3", 3, kind="trunk", trunk=["lab"]), Invalid, {"kind"}),
        (rule({"type": "route", "vport": "vm2"}), Invalid, {"rules[r].action.vport"}),
    ],
)  # fmt: skip
def test_refused_without_a_cable(policy: Snapshot, change: Change, error: type[VfswitchError], paths: set[str]) -> None:
    """H15 H01: where VFs and sub-interfaces are ports of one datapath, no port may be both, or two of one kind."""
    steered = check(policy, [host(1, hairpin=STEERED)])
    with pytest.raises(error) as caught:
        check(steered, [change])
    assert {fault.path for fault in caught.value.errors} == paths


def test_a_host_loses_its_cable_when_no_port_would_be_both(policy: Snapshot) -> None:
    """H15: sub-interfaces named as VFs' ports are, which another datapath has, keep a host from steering by MAC."""
    alike = check(policy, [vport("vm2", 2, subinterface="vf1")])
    with pytest.raises(Conflict) as caught:
        check(alike, [host(1, hairpin=STEERED)])
    told = [fault.message for fault in caught.value.errors]
    assert told == ["vport 'vm2': subinterface: vport 'vm1' is at this port"]


def test_a_host_goes_when_nothing_is_on_it_any_more(policy: Snapshot) -> None:
    """An outlet holds its host and segment; without it and its vports a host can be deleted."""
    emptied = check(policy, [delete("vports", "vm1"), delete("vports", "vm2")])
    with pytest.raises(Conflict):
        check(emptied, [delete("hosts", "h1")])
    assert "h1" not in check(emptied, [delete("outlets", "o1"), delete("hosts", "h1")]).hosts


def test_a_vm_has_no_mac_that_a_function_sends_with(policy: Snapshot) -> None:
    """H10: a VF on whatever host is refused with the MAC that an outlet of its segment lets pass."""
    routed = check(policy, [outlet("o1", macs=["02:aa:00:00:00:01"])])
    taken = put("vports", "vm9", host="plain", port="vf9", tenant="red", mac="02:aa:00:00:00:01", vlan=109)
    with pytest.raises(Conflict) as caught:
        check(routed, [taken])
    assert {fault.path for fault in caught.value.errors} == {"mac"}

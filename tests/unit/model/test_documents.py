"""Documents of every kind: to a resource and back, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ryu_apps.model.documents import from_document, parse_id, to_document
from ryu_apps.model.errors import Invalid
from tests.unit.model.strategies import DOCUMENTS, bound_rules

KEYS: dict[str, Any] = {"groups": ("layer", "name"), "rules": ("layer", "group", "name")}


@pytest.mark.parametrize("kind", DOCUMENTS)
@given(data=st.data())
def test_round_trip(kind: str, data: st.DataObject) -> None:
    """A document that was read and written means the same resource, and is JSON."""
    key = KEYS.get(kind, "name")
    resource = from_document(kind, key, data.draw(DOCUMENTS[kind]))
    document = to_document(resource)
    assert from_document(kind, key, json.loads(json.dumps(document))) == resource
    assert to_document(from_document(kind, key, document)) == document


@given(data=st.data())
def test_round_trip_of_rules_that_refer_to_others(data: st.DataObject) -> None:
    """Actions that name a vport or a tunnel endpoint are read and written as the same."""
    document = data.draw(bound_rules())
    resource = from_document("rules", KEYS["rules"], document)
    assert from_document("rules", KEYS["rules"], json.loads(json.dumps(to_document(resource)))) == resource


def _faults(kind: str, document: dict[str, Any]) -> set[str]:
    with pytest.raises(Invalid) as caught:
        from_document(kind, KEYS.get(kind, "name"), document)
    return {fault.path for fault in caught.value.errors}


VPORT = {"host": "h", "port": "p", "tenant": "t", "mac": "02:00:00:00:00:01", "vlan": 5}


@pytest.mark.parametrize(
    ("alteration", "paths"),
    [
        ({"mac": "03:00:00:00:00:01"}, {"mac"}),
        ({"mac": "00:00:00:00:00:00"}, {"mac"}),
        ({"ips": ["224.0.0.1", "10.0.0.1", "0.0.0.0", "ff02::1", "fe80::1%eth0"]}, {f"ips[{i}]" for i in (0, 2, 3, 4)}),
        ({"ips": ["10.0.0.1", "10.0.0.1"]}, {"ips[1]"}),
        ({"ips": ["::1", "0:0:0:0:0:0:0:1"]}, {"ips[1]"}),
        ({"trunk": ["a"]}, {"trunk"}),
        ({"synthetic": "p"}, {"synthetic"}),
        ({"kind": "trunk"}, {"trunk"}),
        ({"kind": "trunk", "trunk": ["a", "b", "a"], "segment": "t"}, {"trunk[2]", "segment"}),
        ({"mac": "x", "ips": ["y"], "kind": "trunk"}, {"mac", "ips[0]", "trunk"}),
    ],
)
def test_vport_faults(alteration: dict[str, Any], paths: set[str]) -> None:
    """Every fault of a vport is named at once."""
    assert _faults("vports", {**VPORT, **alteration}) == paths


def test_vport_defaults() -> None:
    """A vport that says no more than it must is a VF in its tenant's own segment, with any address."""
    unlimited = {"outbound_kbps": None, "inbound_kbps": None}
    defaults = {"kind": "vf", "ips": [], "segment": "t", "bandwidth": unlimited, "miss_rate_pps": 500, "priority": 0}
    assert to_document(from_document("vports", "name", VPORT)) == {**VPORT, **defaults, "synthetic": None}


@pytest.mark.parametrize(
    ("document", "paths"),
    [
        ({"segment": "s", "eth_dst": "02:00:00:00:00:01"}, {"vport"}),
        ({"segment": "s", "eth_dst": "02:00:00:00:00:01", "vport": "v", "to": "uplink"}, {"to"}),
        ({"segment": "s", "eth_dst": "ff:ff:ff:ff:ff:ff", "vport": "v"}, {"eth_dst"}),
    ],
)
def test_route_faults(document: dict[str, Any], paths: set[str]) -> None:
    """A route has one destination MAC of one station, and one of vport and uplink."""
    assert _faults("routes", document) == paths


NAT = {"type": "nat"}


@pytest.mark.parametrize(
    ("match", "action", "paths"),
    [
        ({"ipv4_src": "10.0.0.1/8"}, {"type": "allow"}, {"match.ipv4_src"}),
        ({"ipv4_src": "::1", "l4_dst": "9-1"}, {"type": "allow"}, {"match.ipv4_src", "match.l4_dst"}),
        ({"l4_dst": "80"}, {"type": "allow"}, {"match.l4_dst"}),
        ({"ipv4_src": "1.1.1.1", "ipv6_src": "::1"}, {"type": "allow"}, {"match"}),
        ({"l4_dst": "x"}, {"type": "rewrite", "set": {"l4_dst": "1-2"}}, {"match.l4_dst", "action.set.l4_dst"}),
        ({}, {"type": "rewrite", "set": {}}, {"action.set"}),
        ({}, {"type": "rewrite", "set": {"eth_type": "3"}}, {"action.set.eth_type"}),
        ({"ipv6_src": "::1"}, {"type": "rewrite", "set": {"ipv4_src": "1.1.1.1"}}, {"action.set.ipv4_src"}),
        ({}, NAT, {"action"}),
        ({}, {**NAT, "source": {"ip": "1.1.1.1"}, "destination": {"ip": "::1"}}, {"action.destination.ip"}),
        ({}, {**NAT, "source": {"ip": "x", "mac": "01:00:00:00:00:00"}}, {"action.source.ip", "action.source.mac"}),
        ({}, {"type": "rewrite", "set": {"eth_src": "01:00:5e:00:00:01", "eth_dst": "ff:ff:ff:ff:ff:ff"}},
         {"action.set.eth_src", "action.set.eth_dst"}),
        ({}, {"type": "rewrite", "set": {"eth_src": "00:00:00:00:00:00", "eth_dst": "00:00:00:00:00:00"}},
         {"action.set.eth_src", "action.set.eth_dst"}),
        ({"ip_proto": "icmp"}, {"type": "rewrite", "set": {"l4_dst": "5"}}, {"action.set.l4_dst"}),
        ({"icmpv6_type": "128"}, {"type": "rewrite", "set": {"l4_src": "5"}}, {"action.set.l4_src"}),
        ({}, {**NAT, "source": {"ip": "1.1.1.1", "port": 5}}, {"action.source.port"}),
        ({"ip_proto": "icmp"}, {**NAT, "destination": {"ip": "1.1.1.1", "port": 5}}, {"action.destination.port"}),
        ({"icmpv4_type": "8"}, {**NAT, "destination": {"ip": "1.1.1.1", "port": 5}}, {"action.destination.port"}),
        ({}, {**NAT, "source": {"ip": "x", "port": 5}, "destination": {"ip": "1.1.1.1", "port": 5, "mac": "x"}},
         {"action.source.ip", "action.source.port", "action.destination.port", "action.destination.mac"}),
        ({"eth_type": "arp"}, {**NAT, "source": {"ip": "1.1.1.1"}}, {"action.source.ip"}),
        ({}, {"type": "jump"}, {"action.type"}),
    ],
)  # fmt: skip
def test_rule_faults(match: dict[str, str], action: dict[str, Any], paths: set[str]) -> None:
    """Every fault of a rule is named at once, match and action together."""
    assert _faults("rules", {"priority": 1, "match": match, "action": action}) == paths


def test_group_faults() -> None:
    """A group names the faults of all its rules, and ids that stand in it twice."""
    good = {"id": "a", "priority": 1, "match": {}, "action": {"type": "allow"}}
    bad = {**good, "id": "b", "match": {"ipv4_src": "x"}}
    document = {"applies_to": {}, "direction": "inbound", "priority": 1, "rules": [good, bad, good]}
    assert _faults("groups", document) == {"applies_to", "rules[1].match.ipv4_src", "rules[2].id"}


@pytest.mark.parametrize("dpid", ["0", "0000000000000000"])
def test_no_host_has_datapath_zero(dpid: str) -> None:
    """A dpid of zero, which no switch has, is refused."""
    assert _faults("hosts", {"dpid": dpid}) == {"dpid"}


def test_numbers_in_a_match() -> None:
    """A match value may be a number."""
    form = {"priority": 1, "match": {"ip_proto": 6, "l4_dst": 80}, "action": {"type": "allow"}}
    rule = from_document("rules", KEYS["rules"], form)
    assert to_document(rule)["match"] == {"ip_proto": "6", "l4_dst": "80"}


@pytest.mark.parametrize("text", ["", ".", "..", "a/b", "a b", "ä", "a" * 65, "a\n"])
def test_bad_ids(text: str) -> None:
    """An id is 1 to 64 of letters, digits and three signs, and no directory."""
    with pytest.raises(ValueError, match="is not an id"):
        parse_id(text)

"""A compiled match against the plain meaning of its fields."""

from __future__ import annotations

import pytest
from hypothesis import given

from ryu_apps.model.errors import Invalid
from ryu_apps.model.fields import FIELDS, parse_range
from ryu_apps.model.flow_key import ND_TYPES, PROTOS_WITH_PORTS, Family, FlowKey
from ryu_apps.model.match import parse_match
from tests.unit.model.strategies import keys, matches


def _field_holds(name: str, text: str, key: FlowKey) -> bool:
    """Return whether a packet has a field with one of the values of a text, field by field as a reader would."""
    field = FIELDS[name]
    if key.family not in field.shifts:
        return False
    proto = FIELDS["ip_proto"].get(key) if key.family not in (Family.LINK, Family.ARP) else None
    if name in ("l4_src", "l4_dst"):
        low, high = parse_range(field, text)
        return proto in PROTOS_WITH_PORTS and low <= field.get(key) <= high
    if name.startswith("icmpv4") and (key.family is not Family.IPV4 or proto != 1):
        return False
    if name.startswith("icmpv6") and proto != 58:
        return False
    value, mask = field.parse(text)
    return field.get(key) & mask == value


def _meant(written: dict[str, str], key: FlowKey) -> bool:
    if key.family is Family.ARP and written.get("eth_type") != "arp":
        return False
    if key.family is Family.ND and written.get("icmpv6_type") not in {str(number) for number in ND_TYPES}:
        return False
    return all(_field_holds(name, text, key) for name, text in written.items())


@given(matches(), keys())
def test_compiled_is_plain(written: dict[str, str], key: FlowKey) -> None:
    """A compiled match holds for a key exactly when each of its fields does."""
    assert parse_match(written).matches(key) == _meant(written, key)


@given(keys())
def test_a_key_matches_its_own_fields(key: FlowKey) -> None:
    """A match made of all fields of a key holds for it."""
    written = {
        name: field.format(field.get(key))
        for name, field in FIELDS.items()
        if key.family in field.shifts and not name.startswith(("l4_", "icmp"))
    }
    if key.family is Family.ND:
        written["icmpv6_type"] = FIELDS["icmpv6_type"].format(FIELDS["icmpv6_type"].get(key))
    if key.family is Family.LINK:
        written["eth_type"] = "0x88cc"
    assert parse_match(written).matches(key)


@pytest.mark.parametrize("text", ["-1", "", "-", "80-", " - 5"])
def test_half_a_range_is_told_what_a_port_is(text: str) -> None:
    """What is neither a number nor a range is shown as it was written, with the range of numbers."""
    with pytest.raises(Invalid) as caught:
        parse_match({"ip_proto": "tcp", "l4_dst": text})
    (fault,) = caught.value.errors
    assert fault.path == "match.l4_dst"
    assert fault.message.startswith(f"{text!r} is not a number from 0 to 65535")


@pytest.mark.parametrize(
    ("written", "paths"),
    [
        ({"in_port": "1"}, {"match.in_port"}),
        ({"ip_dscp": "64", "vlan_vid": "4096"}, {"match.ip_dscp", "match.vlan_vid"}),
        ({"icmpv4_type": "8", "ip_proto": "tcp"}, {"match.icmpv4_type"}),
        ({"arp_op": "1", "ipv4_src": "1.1.1.1"}, {"match"}),
        ({"eth_type": "ipv6", "ipv4_src": "1.1.1.1"}, {"match"}),
        ({"l4_src": "-5", "ip_proto": "tcp"}, {"match.l4_src"}),
        ({"eth_src": "02:00:00:00:00:01/ff:00:00:00:00:00"}, {"match.eth_src"}),
    ],
)
def test_refused(written: dict[str, str], paths: set[str]) -> None:
    """Unknown fields, values out of range, and fields that no packet has together are named."""
    with pytest.raises(Invalid) as caught:
        parse_match(written)
    assert {fault.path for fault in caught.value.errors} == paths

"""Outlines of packed keys: they never leave out a key that a condition meets, and leave out what they can."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ryu_apps.control.key_rows import ENDS_BYTES, row_shape
from ryu_apps.control.outline import Outline, outline
from ryu_apps.model.flow_key import Family, FlowKey
from ryu_apps.model.match import Condition, Match, parse_match
from tests.unit.control.test_key_rows import any_keys, asked, filled, matches
from tests.unit.policies import tcp

OFTEN = 12


def outlined(*keys: FlowKey) -> Outline:
    """Return the outline of keys of one family."""
    return outline(np.frombuffer(b"".join(key.bits.to_bytes(56, "big") for key in keys), "<u8").reshape(-1, 7))


def condition_of(**match: str) -> Condition:
    """Return the IPv4 condition of a match."""
    return dict(parse_match({"ip_proto": "tcp", **match}).conditions)[Family.IPV4]


@settings(max_examples=300)
@given(st.lists(any_keys, min_size=1, max_size=12), matches)
def test_an_outline_leaves_out_no_key_that_a_condition_meets(keys: list[FlowKey], match: Match) -> None:
    """What may meet no condition by its outline has no key that does."""
    for family, condition in match.conditions:
        here = [key for key in keys if key.family is family]
        if here and not outlined(*here).may_meet(condition):
            assert not asked(here, family, condition)


def test_an_outline_tells_ports_and_bits_that_no_key_has() -> None:
    """A port between those that occur, a range around none, another prefix and another protocol are left out."""
    here = outlined(tcp(sport=1000, dport=80), tcp(sport=3000, dport=443))
    for ports in ({"l4_src": "1000"}, {"l4_src": "2000-3000"}, {"l4_dst": "443"}, {"l4_dst": "1-80"}, {}):
        assert here.may_meet(condition_of(**ports)), ports
    for ports in ({"l4_src": "2000"}, {"l4_src": "1001-2999"}, {"l4_dst": "442"}, {"l4_dst": "444-65535"}):
        assert not here.may_meet(condition_of(**ports)), ports
    for prefix in ("203.0.113.0/24", "8.0.0.0/8"):
        assert not here.may_meet(condition_of(ipv4_dst=prefix)), prefix
    assert not here.may_meet(dict(parse_match({"ip_proto": "udp"}).conditions)[Family.IPV4])


@settings(max_examples=100)
@given(st.lists(any_keys, min_size=1, max_size=8), st.lists(any_keys, max_size=3), matches)
def test_rows_that_stay_for_long_are_found_and_so_is_what_comes_then(
    keys: list[FlowKey], later: list[FlowKey], match: Match
) -> None:
    """Sweeps find the same however often they have found the rows as they were, and find rows put or freed since."""
    rows = filled(keys)
    for family, condition in match.conditions * OFTEN:
        assert rows.matching(family, condition, reply=False) == asked(keys, family, condition)
    rows.clear(0)
    for slot, key in enumerate(later):
        rows.put(slot, key, slot % 3)
    present = [*later, *keys[len(later) :]]
    for family, condition in match.conditions * OFTEN:
        expected = asked(present, family, condition)
        assert rows.matching(family, condition, reply=False) == (expected if later else [e for e in expected if e[0]])


@pytest.mark.parametrize("from_ends", [False, True])
def test_a_row_that_comes_after_the_others_were_outlined_is_found(from_ends: bool) -> None:
    """Each way of setting a row tells that an outline holds no more."""
    like, other = tcp(dport=80), tcp(dport=443)
    rows = filled([like])
    for _ in range(OFTEN):
        assert rows.matching(Family.IPV4, condition_of(l4_dst="443"), reply=False) == []
    if from_ends:
        rows.put_ends(1, row_shape(like, 0), (other.bits & (1 << 96) - 1).to_bytes(ENDS_BYTES, "big"))
    else:
        rows.put(1, other, 0)
    assert rows.matching(Family.IPV4, condition_of(l4_dst="443"), reply=False) == [(1, 0)]

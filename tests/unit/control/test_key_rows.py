"""The sweep over packed keys: it finds what asking every key would find."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ryu_apps.control.key_rows import CHUNK_ROWS, ENDS_BYTES, KeyRows, row_shape
from ryu_apps.model.flow_key import Family, FlowKey, reverse
from ryu_apps.model.match import Condition, Match, parse_match
from tests.unit.control import histories
from tests.unit.model import strategies
from tests.unit.policies import tcp

few_keys = st.permutations(histories.ENDS).flatmap(lambda ends: histories.keys(*ends[:2]))
ICMP = ("icmpv4_type", "icmpv4_code", "icmpv6_type", "icmpv6_code")
any_keys = st.one_of(few_keys, strategies.keys())
matches = st.one_of(histories.matches(), strategies.matches().map(parse_match))


def filled(keys: list[FlowKey]) -> KeyRows:
    """Return rows with these keys in order, the plan of each being its slot modulo 3."""
    rows = KeyRows()
    for slot, key in enumerate(keys):
        rows.put(slot, key, slot % 3)
    return rows


def asked(keys: list[FlowKey], family: Family, condition: Condition) -> list[tuple[int, int]]:
    """Return what asking each key finds."""
    return [(slot, slot % 3) for slot, key in enumerate(keys) if key.family is family and condition.matches(key.bits)]


@settings(max_examples=300)
@given(st.lists(any_keys, max_size=20), matches)
def test_a_sweep_finds_what_asking_each_key_finds(keys: list[FlowKey], match: Match) -> None:
    """For first packets the sweep is exact, in every family."""
    rows = filled(keys)
    for family, condition in match.conditions:
        assert rows.matching(family, condition, reply=False) == asked(keys, family, condition)


@settings(max_examples=300)
@given(st.lists(any_keys, max_size=20), matches)
def test_a_sweep_for_replies_misses_none(keys: list[FlowKey], match: Match) -> None:
    """For replies the sweep is exact but for ICMP, where a query becomes another type: there it may find too many."""
    rows = filled(keys)
    replies = [reverse(key) for key in keys]
    for family, condition in match.conditions:
        found, expected = rows.matching(family, condition, reply=True), asked(replies, family, condition)
        assert set(found) >= set(expected)
        if not any(match.uses(name) for name in ICMP):
            assert found == expected


@given(st.lists(any_keys, max_size=12), st.data())
def test_a_cleared_row_is_never_found(keys: list[FlowKey], data: st.DataObject) -> None:
    """A free slot matches nothing, and a slot used again is found by its new key alone."""
    rows = filled(keys)
    gone = data.draw(st.sets(st.sampled_from(range(len(keys))))) if keys else set()
    for slot in gone:
        rows.clear(slot)
    left = [slot for slot in range(len(keys)) if slot not in gone]
    for family in Family:
        found = rows.matching(family, Condition(0, 0), reply=False)
        assert [slot for slot, _ in found] == [slot for slot in left if keys[slot].family is family]
    for plan in range(3):
        assert rows.of_plan(plan) == [slot for slot in left if slot % 3 == plan]
        assert all(rows.get(slot)[0] == keys[slot] for slot in left)
    for slot in gone:
        rows.put(slot, tcp(), 7)
    assert rows.of_plan(7) == sorted(gone)


def test_rows_grow_without_losing_any() -> None:
    """Beyond its first room the table keeps what it had, and finds what stands on both sides of the border."""
    keys = [tcp(sport=number) for number in range(CHUNK_ROWS + 100)]
    rows = filled(keys)
    ports = f"{CHUNK_ROWS - 5}-{CHUNK_ROWS + 4}"
    condition = parse_match({"ip_proto": "tcp", "l4_src": ports}).conditions[0][1]
    expected = list(range(CHUNK_ROWS - 5, CHUNK_ROWS + 5))
    assert [slot for slot, _ in rows.matching(Family.IPV4, condition, reply=False)] == expected
    assert [slot for slot, _ in rows.matching(Family.IPV4, condition, reply=True)] == []


@given(
    st.lists(st.tuples(st.integers(0, 3 * CHUNK_ROWS), st.binary(min_size=ENDS_BYTES, max_size=ENDS_BYTES)), max_size=9)
)
def test_rows_from_ends_are_those_of_their_keys(met: list[tuple[int, bytes]]) -> None:
    """Rows made from a kind's shape and a packet's ends equal rows made from keys, in whatever chunk they stand."""
    like = tcp(dport=53)
    from_ends, from_keys = KeyRows(), KeyRows()
    keys = {}
    for slot, ends in met:
        bits = like.bits >> 96 << 96 | int.from_bytes(ends, "big")
        keys[slot] = FlowKey(Family.IPV4, bits)
        from_ends.put_ends(slot, row_shape(like, slot % 3), ends, slot + 1, slot / 8)
        from_keys.put(slot, keys[slot], slot % 3, slot + 1, slot / 8)
    for plan in range(3):
        assert from_ends.of_plan(plan) == from_keys.of_plan(plan)
    for slot, key in keys.items():
        assert from_ends.get(slot) == from_keys.get(slot) == (key, slot + 1, slot / 8)
        condition = Condition((1 << 240) - 1, key.bits)
        found = from_ends.matching(Family.IPV4, condition, reply=False)
        assert slot in [place for place, _ in found]
        assert found == from_keys.matching(Family.IPV4, condition, reply=False)

"""Standing entries: laws that hold for every network."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

from hypothesis import given

from ryu_apps.engine.policy import compile_policy
from ryu_apps.pipeline.base import base_entries
from ryu_apps.pipeline.cached import CACHED_PRIORITY
from ryu_apps.pipeline.cookie import CACHED, EntryClass, unpack
from ryu_apps.pipeline.entry import (
    MISS_PRIORITY,
    FlowEntry,
    Matches,
    MatchValue,
    Output,
    ToController,
    check_contract,
    entry,
)
from ryu_apps.pipeline.registers import SENDER
from ryu_apps.pipeline.table import Miss
from ryu_apps.pipeline.tables import TABLES
from tests.unit import policies
from tests.unit.pipeline.networks import Network, networks


def entries_of(network: Network) -> dict[str, tuple[FlowEntry, ...]]:
    """Return the standing entries of every host."""
    return {host.id: base_entries(network.policy, host, network.ports[host.id]) for host in network.hosts}


def _value_and_mask(value: MatchValue) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, -1)


def overlap(first: Matches, second: Matches) -> bool:
    """Return whether some packet meets both matches, as far as fields tell that both name."""
    others = dict(second)
    for name, value in first:
        if name in others:
            (one, mask), (other, other_mask) = _value_and_mask(value), _value_and_mask(others[name])
            if (one ^ other) & mask & other_mask:
                return False
    return True


@given(networks())
def test_every_entry_keeps_the_contract_of_its_table(network: Network) -> None:
    """What is compiled matches, writes and leads only as the line of its table says."""
    for made in (made for entries in entries_of(network).values() for made in entries):
        check_contract(made)


@given(networks())
def test_no_two_entries_have_the_same_key(network: Network) -> None:
    """A switch tells entries apart by table, priority and match: a second one would replace the first in silence."""
    for entries in entries_of(network).values():
        assert len({made.key for made in entries}) == len(entries)


def contradictions(entries: Iterable[FlowEntry]) -> list[tuple[FlowEntry, FlowEntry]]:
    """Return pairs of equal table and priority that some packet meets and that do different things with it."""
    return [
        (first, second)
        for first, second in combinations(entries, 2)
        if (first.table, first.priority) == (second.table, second.priority)
        and (first.actions, first.goto) != (second.actions, second.goto)
        and overlap(first.match, second.match)
    ]


@given(networks())
def test_entries_of_one_priority_never_contradict(network: Network) -> None:
    """Where two entries of one priority match a packet, the switch may take either, so both do the same."""
    for entries in entries_of(network).values():
        assert contradictions(entries) == []


@given(networks())
def test_every_table_says_what_a_miss_does(network: Network) -> None:
    """Each table has one entry for all that no other matches, and it is what the table list says."""
    for entries in entries_of(network).values():
        misses = {made.table: made for made in entries if made.priority == MISS_PRIORITY}
        assert set(misses) == {table.name for table in TABLES}
        for table in TABLES:
            after = {Miss.CONTROLLER: {"missed"}, Miss.CONTINUE: table.next - {"missed"}, Miss.DROP: {None}}
            assert misses[table.name].goto in after[table.miss]


@given(networks())
def test_nothing_leaves_by_a_port_that_the_switch_does_not_have(network: Network) -> None:
    """A vport whose port is missing has no entries, and outputs name only the ports that are there."""
    for host, entries in entries_of(network).items():
        present = network.ports[host]
        assert {a.port_no for made in entries for a in made.actions if isinstance(a, Output)} <= set(present.values())
        numbers = {v.number for v in network.policy.snapshot.vports.values() if v.host == host and v.port in present}
        named = {dict(made.match).get(SENDER, 0) for made in entries if made.table == "guard"}
        assert named - {0} == numbers


def test_no_vport_is_at_the_switchs_own_port() -> None:
    """A vport that names the port of the switch itself, put while that was away, has no entries."""
    policy = compile_policy(policies.snapshot())
    ports = {"h1-vf1": 0xFFFFFFFE, "h1-vf2": 2, "h1-uplink": 9}
    made = base_entries(policy, policy.snapshot.hosts["h1"], ports)
    assert {dict(each.match)["in_port"] for each in made if each.table == "classify" and each.match} == {2, 9}


@given(networks())
def test_what_sends_to_the_controller_says_why_and_who_refuses_is_counted(network: Network) -> None:
    """Packet-ins come from entries of class punt in one table, and entries of class guard do nothing but drop."""
    for made in (made for entries in entries_of(network).values() for made in entries):
        cookie = unpack(made.cookie)
        assert cookie is not None and cookie.entry_class not in CACHED
        asks = any(isinstance(action, ToController) for action in made.actions)
        assert asks is (cookie.entry_class is EntryClass.PUNT and made.table == "missed")
        if cookie.entry_class is EntryClass.GUARD:
            assert not made.actions and made.goto is None


@given(networks())
def test_what_no_exact_entry_can_stand_for_is_kept_out_of_the_caches(network: Network) -> None:
    """M22: in the caches every standing entry but the misses stands before the exact entries."""
    for entries in entries_of(network).values():
        for made in entries:
            if made.table in ("outbound", "inbound") and made.priority > MISS_PRIORITY + 1:
                assert made.priority > CACHED_PRIORITY


def test_a_contradiction_would_be_found_out() -> None:
    """The law above can fail: two overlapping entries of one priority with different ends are told."""
    first = entry("classify", 5, {"in_port": 1}, goto="guard")
    second = entry("classify", 5, {"vlan_vid": 0})
    third = entry("classify", 5, {"in_port": 2, "vlan_vid": (0x1000, 0x1000)})
    assert contradictions([first, second, third]) == [(first, second)]

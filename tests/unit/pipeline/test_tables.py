"""The table list, and the contract that it is to every entry."""

from __future__ import annotations

import pytest

from ryu_apps.pipeline.entry import ContractBroken, EntryAction, Output, PopVlan, PushVlan, Resubmit, SetField, entry
from ryu_apps.pipeline.tables import BY_NAME, NUMBER, TABLES


def test_tables_lead_forward_only() -> None:
    """A packet passes the list from top to bottom, so that no entry can make it go in a circle."""
    assert [NUMBER[table.name] for table in TABLES] == list(range(len(TABLES)))
    for table in TABLES:
        assert all(NUMBER[name] > NUMBER[table.name] for name in table.next)


def test_what_a_table_writes_is_read_further_on() -> None:
    """A register that is written is matched by a later table, and one that is matched was written by an earlier."""
    registers = {name for table in TABLES for name in table.matches | table.writes if name.startswith("reg")}
    for register in registers:
        written = [NUMBER[table.name] for table in TABLES if register in table.writes]
        read = [NUMBER[table.name] for table in TABLES if register in table.matches]
        assert written and read and min(written) < min(read)


def test_no_table_matches_what_it_writes() -> None:
    """What an entry changes, another of the same table does not look at: one look-up a table is enough."""
    for table in TABLES:
        assert not {name for name in table.matches & table.writes if name.startswith("reg")}


BROKEN: list[tuple[str, dict[str, int], tuple[EntryAction, ...], str | None]] = [
    ("classify", {"eth_dst": 1}, (), None),
    ("deliver", {"in_port": 1}, (), None),
    ("egress", {"eth_type": 0}, (), None),
    ("guard", {}, (SetField("reg0", 1),), None),
    ("outbound", {}, (SetField("reg2", 1),), None),
    ("deliver", {}, (SetField("eth_dst", 1),), None),
    ("outbound", {}, (Output(1),), None),
    ("guard", {}, (PopVlan(),), None),
    ("deliver", {}, (PushVlan(1),), None),
    ("classify", {}, (), "deliver"),
    ("egress", {}, (), "classify"),
    ("inbound", {}, (), "deliver"),
    ("deliver", {}, (Resubmit("classify"),), None),
]


@pytest.mark.parametrize(("table", "match", "actions", "goto"), BROKEN)
def test_a_broken_entry_is_refused(
    table: str, match: dict[str, int], actions: tuple[EntryAction, ...], goto: str | None
) -> None:
    """An entry that matches, writes or leads beyond its table's line never leaves the compiler."""
    with pytest.raises(ContractBroken, match=f"in table {table}"):
        entry(table, 1, dict(match), *actions, goto=goto)


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_an_entry_within_the_contract_is_made(name: str) -> None:
    """Every field that a table may match, write and lead to is accepted there."""
    table = BY_NAME[name]
    writes = [SetField(field, 0) for field in sorted(table.writes - {"vlan", "output"})]
    for goto in (None, *table.next):
        assert entry(name, 1, dict.fromkeys(table.matches, 0), *writes, goto=goto).table == name

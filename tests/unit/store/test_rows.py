"""Snapshots as rows, and back."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ryu_apps.model.documents import from_document
from ryu_apps.model.policy import Change, Snapshot
from ryu_apps.store.errors import StoreError
from ryu_apps.store.rows import Row, restore, rows_for
from tests.unit.model.strategies import layers, rules


def put(kind: str, key: Any, /, **document: Any) -> Change:
    """Return the change that puts a document."""
    return Change(kind=kind, key=key, value=from_document(kind, key, document))


RULE = {"priority": 1, "match": {"ip_proto": "tcp"}, "action": {"type": "allow"}}
RULES = [{"id": "a", **RULE}, {"id": "b", **RULE}]
GROUP = {"direction": "inbound", "priority": 1}
VPORT = {"host": "h1", "port": "vf1", "tenant": "red", "mac": "02:00:00:00:00:01", "ips": ["10.0.0.1"], "vlan": 5}
POLICY = (
    put("hosts", "h1", dpid="1", uplink="up"),
    put("tenants", "red"),
    put("segments", "red", tenant="red", vlan=None, number=1),
    put("segments", "lab", tenant="red", vlan=200, number=2),
    put("vports", "vm1", **VPORT),
    put("vports", "vm2", **{**VPORT, "port": "vf2", "vlan": 6, "kind": "trunk", "trunk": ["lab"]}),
    put("routes", "r", segment="red", eth_dst="02:00:00:00:00:09", vport="vm1"),
    put("layers", "fw", position=1),
    put("groups", ("fw", "web"), applies_to={"vport": "vm1"}, rules=RULES, **GROUP),
)


class Table:
    """The rows as a database would hold them."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Any] = {}

    def write(self, rows: list[Row]) -> None:
        """Carry out rows in their order."""
        for kind, key, document in rows:
            if document is None:
                del self.rows[kind, key]
            else:
                self.rows[kind, key] = json.loads(json.dumps(document))

    def snapshot(self) -> Snapshot:
        """Return the snapshot restored from the rows in any order."""
        rows = [(kind, key, document) for (kind, key), document in self.rows.items()]
        random.shuffle(rows)
        return restore(rows)


def test_a_whole_policy() -> None:
    """A policy that was written row by row is restored as it was, with its generation."""
    table, policy = Table(), Snapshot()
    for change in POLICY:
        table.write(rows_for([change], policy))
        policy = policy.changed([change])
    assert table.snapshot() == policy
    assert policy.generation == len(POLICY)


def test_a_rule_is_one_row() -> None:
    """The change of one rule writes that rule and the generation, nothing else."""
    policy = Snapshot().changed(POLICY)
    rows = rows_for([put("rules", ("fw", "web", "c"), **RULE)], policy)
    assert [(kind, key) for kind, key, _ in rows] == [("rules", "fw/web/c"), ("snapshot", "generation")]


def test_a_group_writes_what_differs() -> None:
    """A replaced group writes its header only if it differs, and only the rules that do."""
    policy = Snapshot().changed(POLICY)
    new = [{"id": "a", **RULE}, {"id": "c", **RULE, "priority": 7}]
    kept = put("groups", ("fw", "web"), applies_to={"vport": "vm1"}, rules=new, **GROUP)
    assert [(kind, key, document is None) for kind, key, document in rows_for([kept], policy)[:-1]] == [
        ("rules", "fw/web/b", True), ("rules", "fw/web/c", False)
    ]
    moved = put("groups", ("fw", "web"), rules=RULES, **GROUP)
    assert [row[:2] for row in rows_for([moved], policy)[:-1]] == [("groups", "fw/web")]


_NAMES = st.sampled_from(["a", "b", "c"])


@st.composite
def _changes(draw: st.DrawFn) -> Change:
    """Draw any change of layers, groups and rules, of few names so that they meet."""
    kind = draw(st.sampled_from(["layers", "groups", "rules"]))
    if kind == "layers":
        key = draw(_NAMES)
        return put(kind, key, **draw(layers()))
    layer, group = draw(_NAMES), draw(_NAMES)
    if kind == "rules":
        key = (layer, group, draw(_NAMES))
        gone = draw(st.booleans())
        return Change(kind=kind, key=key, value=None) if gone else put(kind, key, **draw(rules()))
    if draw(st.booleans()):
        return Change(kind=kind, key=(layer, group), value=None)
    found = draw(st.dictionaries(_NAMES, rules()))
    return put(kind, (layer, group), **GROUP, rules=[{"id": name, **rule} for name, rule in found.items()])


def _possible(policy: Snapshot, change: Change) -> bool:
    if change.value is None:
        return policy.get(change.kind, change.key) is not None
    if change.kind == "rules":
        return policy.get("groups", change.key[:2]) is not None
    return change.kind != "groups" or change.key[0] in policy.layers


@given(st.lists(_changes(), max_size=12), st.integers(1, 4))
def test_any_history(changes: list[Change], size: int) -> None:
    """Whatever changes are written, several at a time, what is restored is the policy after them."""
    table, policy = Table(), Snapshot()
    pending: list[Change] = []
    for change in changes:
        if _possible(policy.changed(pending), change):
            pending.append(change)
        if len(pending) == size:
            table.write(rows_for(pending, policy))
            policy, pending = policy.changed(pending), []
    assert table.snapshot() == policy


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (("vports", "x", {}), "vports row 'x'"),
        (("vports", "x", {**VPORT, "mac": "y"}), "mac"),
        (("vports", "x", {**VPORT, "port": "vf9"}), "has this VLAN"),
        (("rules", "fw/none/a", RULE), "fw/none"),
        (("rules", "fw", RULE), "rules row 'fw'"),
        (("rules", "fw/web/z", {"priority": 1}), "fw/web"),
        (("groups", "fw", GROUP), "groups row 'fw'"),
        (("colors", "x", {}), "colors"),
        (("snapshot", "generation", {}), "snapshot"),
        (("layers", "x", []), "layers"),
    ],
)
def test_damaged_rows(row: Any, told: str) -> None:
    """A row that cannot be understood, or contradicts others, is refused by name."""
    table = Table()
    table.write(rows_for(POLICY, Snapshot()))
    table.write([row])
    with pytest.raises(StoreError, match=told):
        table.snapshot()

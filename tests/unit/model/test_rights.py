"""Owners of layers: who may change what."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from immutables import Map

from ryu_apps.model.action import Allow
from ryu_apps.model.errors import Forbidden
from ryu_apps.model.match import parse_match
from ryu_apps.model.network import Host, Tenant
from ryu_apps.model.policy import Change, Snapshot
from ryu_apps.model.rights import ALL_RIGHTS, Rights, check_rights
from ryu_apps.model.rules import Direction, Group, Layer, Rule, Scope

X = Rights(owner="x", may_write=True)
OWNERS = ("x", "y", "admin", "*", "X")
RULE = Rule(id="r", priority=1, match=parse_match({}), action=Allow())


def _layer(name: str, owner: str, position: int = 1) -> Layer:
    return Layer(id=name, position=position, stateful=False, owner=owner, default_allow=())


def _group(layer: str, name: str = "g", priority: int = 1) -> Group:
    rules = Map({"r": RULE})
    return Group(id=name, layer=layer, direction=Direction.INBOUND, scope=Scope(), priority=priority, rules=rules)


def _policy() -> Snapshot:
    """Return a policy in which every owner has a layer of its name, with a group of one rule."""
    return Snapshot(
        layers=Map({owner: _layer(owner, owner) for owner in OWNERS}),
        groups=Map({(owner, "g"): _group(owner) for owner in OWNERS}),
    )


def _put(kind: str, key: str | tuple[str, str] | tuple[str, str, str], value: object) -> Change:
    return Change(kind=kind, key=key, value=value)  # type: ignore[arg-type]


def _allowed(rights: Rights, *changes: Change) -> bool:
    try:
        check_rights(rights, _policy(), changes)
    except Forbidden:
        return False
    return True


def _changes(layer: str, owner: str) -> dict[str, Change]:
    """Return one change of every sort in and of a layer that belongs to an owner."""
    return {
        "put layer": _put("layers", layer, _layer(layer, owner, 2)),
        "delete layer": _put("layers", layer, None),
        "put group": _put("groups", (layer, "g"), _group(layer, priority=2)),
        "new group": _put("groups", (layer, "new"), _group(layer, "new")),
        "delete group": _put("groups", (layer, "g"), None),
        "put rule": _put("rules", (layer, "g", "r"), replace(RULE, priority=2)),
        "delete rule": _put("rules", (layer, "g", "r"), None),
    }


SORTS = tuple(_changes("x", "x"))


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("owner", OWNERS)
def test_an_owner_writes_its_layers_and_no_others(owner: str, sort: str) -> None:
    """M27: every sort of change is allowed in one's own layer and refused in that of any other owner."""
    assert _allowed(X, _changes(owner, owner)[sort]) is (owner == "x")


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("owner", OWNERS)
def test_the_administrator_writes_every_layer(owner: str, sort: str) -> None:
    """M27: the administrator may make every sort of change in everybody's layer."""
    assert _allowed(ALL_RIGHTS, _changes(owner, owner)[sort])


@pytest.mark.parametrize("owner", ["x", "admin"])
@pytest.mark.parametrize("sort", SORTS)
def test_a_reader_writes_nothing(owner: str, sort: str) -> None:
    """A token that may only read changes nothing, not even for its own owner or the administrator."""
    assert not _allowed(Rights(owner=owner, may_write=False), _changes(owner, owner)[sort])


@pytest.mark.parametrize("owner", OWNERS)
def test_a_layer_is_neither_taken_over_nor_given_away(owner: str) -> None:
    """M27: an owner can write its own name into no other's layer, another's into none of its own, nor make such."""
    assert _allowed(X, _put("layers", owner, _layer(owner, "x"))) is (owner == "x")
    assert _allowed(X, _put("layers", "x", _layer("x", owner))) is (owner == "x")
    assert _allowed(X, _put("layers", "new", _layer("new", owner))) is (owner == "x")


def test_the_refusal_names_layer_and_owner() -> None:
    """M27: the refusal says which layer it is about, whose it is and whose the token is."""
    for change in (_changes("y", "x")["put layer"], _changes("y", "y")["put rule"], _changes("x", "y")["put layer"]):
        with pytest.raises(Forbidden) as refusal:
            check_rights(X, _policy(), [change])
        layer = change.key if isinstance(change.key, str) else change.key[0]
        assert f"layer {layer!r}" in refusal.value.message
        assert "owner 'y'" in refusal.value.message and "owner 'x'" in refusal.value.message


@pytest.mark.parametrize(
    "change", [_put("tenants", "t", Tenant(id="t")), _put("hosts", "h", Host(id="h", dpid=1, uplink=None)),
               _put("segments", "x", None), _put("vports", "x", None), _put("routes", "x", None)],
    ids=lambda change: change.kind,
)
def test_what_is_no_layer_is_the_administrators(change: Change) -> None:
    """Hosts, tenants, segments, vports and routes are written by the administrator alone, whatever their names."""
    assert not _allowed(X, change)
    assert _allowed(ALL_RIGHTS, change)


def test_one_foreign_change_among_many_refuses_all() -> None:
    """M27: changes that are made as one are refused when one of them is another's."""
    mine, theirs = _changes("x", "x")["put layer"], _changes("y", "y")["put rule"]
    assert _allowed(X, mine)
    assert not _allowed(X, mine, theirs) and not _allowed(X, theirs, mine)


_ANY_CHANGE = st.builds(
    lambda layer, owner, sort: _changes(layer, owner)[sort],
    st.sampled_from([*OWNERS, "new"]), st.sampled_from(OWNERS), st.sampled_from(SORTS),
)  # fmt: skip


@given(st.lists(_ANY_CHANGE, max_size=6))
def test_allowed_changes_leave_others_as_they_were(changes: list[Change]) -> None:
    """M27: whatever an owner is allowed to do at once, all layers and groups of others are the same afterwards."""
    before = _policy()
    # What can be applied at all: a rule needs its group.
    changes = [change for change in changes if change.kind != "rules" or change.group_key in before.groups]
    try:
        check_rights(X, before, changes)
        after = before.changed(changes)
    except (Forbidden, KeyError):
        return
    others = {name for name, layer in before.layers.items() if layer.owner != "x"}
    assert {name for name, layer in after.layers.items() if layer.owner != "x"} == others
    for name in others:
        assert after.layers[name] == before.layers[name]
    for key in {*before.groups, *after.groups}:
        if key[0] in others:
            assert after.groups.get(key) == before.groups.get(key)

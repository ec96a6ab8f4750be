"""Laws of header edits and of reply keys."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ryu_apps.model.fields import FIELDS, SETTABLE
from ryu_apps.model.flow_key import FlowKey, reverse
from ryu_apps.model.transposition import IDENTITY, Transposition, difference, transposition
from tests.unit.model.strategies import keys

edits = st.fixed_dictionaries(
    {}, optional={name: st.integers(0, FIELDS[name].full) for name in SETTABLE}
).map(transposition)


@given(edits, edits, keys())
def test_then(first: Transposition, second: Transposition, key: FlowKey) -> None:
    """One edit after another is the composed edit."""
    assert first.then(second).apply(key) == second.apply(first.apply(key))


@given(edits, edits, edits)
def test_then_is_associative(first: Transposition, second: Transposition, third: Transposition) -> None:
    """How edits are grouped does not matter."""
    assert first.then(second).then(third) == first.then(second.then(third))


@given(edits)
def test_identity(edit: Transposition) -> None:
    """The empty edit changes nothing, before or after."""
    assert edit.then(IDENTITY) == edit == IDENTITY.then(edit)


@given(edits, keys())
def test_difference(edit: Transposition, key: FlowKey) -> None:
    """What differs between a key and its edited form turns the one into the other."""
    after = edit.apply(key)
    assert difference(key, after).apply(key) == after


@given(keys())
def test_reverse(key: FlowKey) -> None:
    """The reply to a reply has the key of the packet."""
    assert reverse(reverse(key)) == key

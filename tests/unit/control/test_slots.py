"""Slots by flow id against a plain dictionary."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ryu_apps.control.slots import Slots
from ryu_apps.pipeline.cookie import FLOW_IDS

ids = st.one_of(st.integers(0, 600), st.integers(FLOW_IDS - 300, FLOW_IDS - 1))


@given(st.lists(st.tuples(ids, st.integers(0, 1 << 30))))
def test_slots_are_what_a_dictionary_would_hold(steps: list[tuple[int, int]]) -> None:
    """An id that has a slot loses it, one that has none gets one; every id is found or not as in a dictionary."""
    slots, plain = Slots(), dict[int, int]()
    for flow_id, slot in steps:
        assert slots.get(flow_id) == plain.get(flow_id)
        if flow_id in plain:
            assert slots.pop(flow_id) == plain.pop(flow_id)
        else:
            with pytest.raises(KeyError):
                slots.pop(flow_id)
            slots.put(flow_id, slot)
            plain[flow_id] = slot
        assert len(slots) == len(plain)
    for flow_id, slot in plain.items():
        assert slots.get(flow_id) == slot

"""Cookies: what is packed comes out again, and masks find exactly their field."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ryu_apps.pipeline.cookie import (
    CLASS_MASK,
    DETAIL_MASK,
    FLOW_IDS,
    GENERATIONS,
    MARK,
    MARK_MASK,
    VPORT_MASK,
    Cookie,
    EntryClass,
    of_vport,
    unpack,
)

cookies = st.builds(
    Cookie,
    st.sampled_from(EntryClass),
    st.integers(0, GENERATIONS - 1),
    st.integers(0, 4095),
    st.integers(0, FLOW_IDS - 1),
)


@given(cookies)
def test_a_cookie_comes_out_as_it_was_packed(cookie: Cookie) -> None:
    """Packing loses nothing, and the result is a 64-bit number with our mark."""
    packed = cookie.pack()
    assert unpack(packed) == cookie
    assert 0 <= packed < 1 << 64 and packed >> 56 == MARK


@given(cookies, st.integers(0, 1 << 40))
def test_a_generation_is_kept_modulo_its_field(cookie: Cookie, generation: int) -> None:
    """A controller that lives for long spoils no other field."""
    found = unpack(cookie._replace(generation=generation).pack())
    assert found == cookie._replace(generation=generation % GENERATIONS)


@pytest.mark.parametrize(
    ("mask", "field"), [(CLASS_MASK, "entry_class"), (VPORT_MASK, "vport"), (DETAIL_MASK, "detail")]
)
@given(first=cookies, second=cookies)
def test_a_mask_selects_exactly_its_field(mask: int, field: str, first: Cookie, second: Cookie) -> None:
    """Two cookies agree under a field's mask when and only when they agree in the field."""
    assert (first.pack() & mask == second.pack() & mask) is (getattr(first, field) == getattr(second, field))


def test_masks_do_not_overlap() -> None:
    """Each bit belongs to one field; what is left are the twelve bits of the generation."""
    masks = (MARK_MASK, CLASS_MASK, VPORT_MASK, DETAIL_MASK)
    assert sum(masks) == MARK_MASK | CLASS_MASK | VPORT_MASK | DETAIL_MASK
    assert ((1 << 64) - 1 - sum(masks)).bit_count() == 12


@given(cookies)
def test_a_vport_is_put_into_a_cookie_that_names_none(cookie: Cookie) -> None:
    """Filling the vport in later equals packing it at once."""
    assert of_vport(cookie._replace(vport=0).pack(), cookie.vport) == cookie.pack()


@given(st.integers(0, (1 << 64) - 1))
def test_a_foreign_cookie_is_not_ours(number: int) -> None:
    """Only the mark with a known class is ours, so that foreign entries are left alone."""
    ours = number >> 56 == MARK and number >> 52 & 0xF in set(EntryClass)
    assert (unpack(number) is not None) is ours

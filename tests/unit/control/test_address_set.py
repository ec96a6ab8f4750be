"""Sets of addresses: what is in them, and which is the next that is not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ryu_apps.control.address_set import AddressSet

_BASE = 1 << 64
# Few addresses about the borders of blocks.
_ADDRESSES = st.sampled_from([0, 1, 4095, 4096, 4097, 8191, 8192]).map(lambda place: _BASE + place)
_STEPS = st.lists(st.tuples(st.sampled_from(["add", "discard", "fill", "clear"]), _ADDRESSES), max_size=12)


@given(_STEPS, _ADDRESSES, _ADDRESSES)
def test_the_first_that_is_missing_is_found(steps: list[tuple[str, int]], low: int, high: int) -> None:
    """M23: over any history the set holds what was added, and names the lowest address that it has not."""
    found, plain = AddressSet(), set[int]()
    for what, address in steps:
        block = range(address & ~4095, (address & ~4095) + 4096)
        for each in block if what in ("fill", "clear") else (address,):
            if what in ("add", "fill"):
                found.add(each)
                plain.add(each)
            else:
                found.discard(each)
                plain.discard(each)
    assert found.first_missing(low, high) == next((each for each in range(low, high + 1) if each not in plain), None)
    assert all((each in found) is (each in plain) for each in (low, high))
    assert bool(found) is bool(plain)


def test_what_is_full_is_passed_at_once() -> None:
    """M23: behind a hundred thousand addresses that are in, the next one is found in a few steps, and none in none."""
    found = AddressSet()
    for address in range(100_000):
        found.add(address)
    looked: list[int] = []
    blocks = found._blocks

    class Counting(dict[int, int]):
        def get(self, number: int, default: int = 0) -> int:  # type: ignore[override]
            looked.append(number)
            return super().get(number, default)

    found._blocks = Counting(blocks)
    assert found.first_missing(0, 1 << 20) == 100_000
    assert found.first_missing(0, 99_999) is None
    assert len(looked) <= 5

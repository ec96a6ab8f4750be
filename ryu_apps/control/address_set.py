"""Sets of addresses in which the next one that is missing is found at once."""

from __future__ import annotations

from typing import Final

_BITS: Final = 4096
_ALL: Final = (1 << _BITS) - 1


class AddressSet:
    """Addresses as bits of blocks; the blocks that are full are such a set again, so that they are passed at once."""

    def __init__(self, levels: int = 2) -> None:
        self._blocks: dict[int, int] = {}
        self._full = AddressSet(levels - 1) if levels else None

    def __bool__(self) -> bool:
        return bool(self._blocks)

    def __contains__(self, address: int) -> bool:
        return bool(self._blocks.get(address // _BITS, 0) >> address % _BITS & 1)

    def add(self, address: int) -> None:
        """Take an address in."""
        number = address // _BITS
        block = self._blocks[number] = self._blocks.get(number, 0) | 1 << address % _BITS
        if block == _ALL and self._full is not None:
            self._full.add(number)

    def discard(self, address: int) -> None:
        """Leave an address out."""
        number = address // _BITS
        block = self._blocks.get(number, 0) & ~(1 << address % _BITS)
        if block:
            self._blocks[number] = block
        else:
            self._blocks.pop(number, None)
        if self._full is not None:
            self._full.discard(number)

    def first_missing(self, low: int, high: int) -> int | None:
        """Return the lowest address from low to high that is not in the set, None when all are."""
        while low <= high:
            missing = ~self._blocks.get(low // _BITS, 0) & _ALL
            missing = missing >> low % _BITS << low % _BITS
            if missing:
                found = low // _BITS * _BITS + (missing & -missing).bit_length() - 1
                return found if found <= high else None
            number: int | None = low // _BITS + 1
            if self._full is not None:
                number = self._full.first_missing(low // _BITS + 1, high // _BITS)
            if number is None:
                return None
            low = number * _BITS
        return None

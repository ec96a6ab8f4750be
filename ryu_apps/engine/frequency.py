"""How often flows were seen lately, in a fixed number of bytes: a count-min sketch that ages.

After Einziger, Friedman and Manes, "TinyLFU: A Highly Efficient Cache Admission Policy", ACM Transactions on Storage
13(4), 2017, with the conservative update of Estan and Varghese, SIGCOMM 2002.
"""

from __future__ import annotations

from typing import Final

MOST: Final = 255
_HALVES: Final = bytes(count >> 1 for count in range(256))
_WORD: Final = 0xFFFF_FFFF_FFFF_FFFF


class Frequency:
    """Counts packets by flow id in 4 rows of `width` bytes, a power of two up to 65,536.

    All counts are halved every half_life_s, and sooner after as many packets as a row is wide:
    so flows that never come again cannot lift the counts of others, however many they are.
    A count is too high only where a flow shares all four of its places, and never more than MOST.
    """

    def __init__(self, width: int, half_life_s: float) -> None:
        self._mask = width - 1
        self._rows = tuple(bytearray(width) for _ in range(4))
        self._added = 0
        self._half_life_s = half_life_s
        self._halve_s = 0.0

    def add(self, flow_id: int, now_s: float) -> int:
        """Return the recent packets of a flow, the one that is added now among them."""
        if self._added > self._mask or now_s >= self._halve_s:
            self._halve(now_s)
        self._added += 1
        i, j, k, l = self._places(flow_id)  # noqa: E741 - four places, four letters
        a, b, c, d = self._rows
        count = min(a[i], b[j], c[k], d[l])
        if count == MOST:
            return count
        after = count + 1
        if a[i] == count:
            a[i] = after
        if b[j] == count:
            b[j] = after
        if c[k] == count:
            c[k] = after
        if d[l] == count:
            d[l] = after
        return after

    def raise_to(self, flow_id: int, packets: float) -> None:
        """Remember a flow with at least so many recent packets, as the NIC counted them."""
        count = min(MOST, int(packets))
        for row, place in zip(self._rows, self._places(flow_id), strict=True):
            if row[place] < count:
                row[place] = count

    def _halve(self, now_s: float) -> None:
        if self._added:
            self._rows = tuple(row.translate(_HALVES) for row in self._rows)
        self._added //= 2
        self._halve_s = now_s + self._half_life_s

    def _places(self, flow_id: int) -> tuple[int, int, int, int]:
        # The finisher of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): ids that follow each other fall far apart.
        mixed = (flow_id * 0x9E37_79B9_7F4A_7C15) & _WORD
        mixed = ((mixed ^ mixed >> 30) * 0xBF58_476D_1CE4_E5B9) & _WORD
        mixed = ((mixed ^ mixed >> 27) * 0x94D0_49BB_1331_11EB) & _WORD
        mixed ^= mixed >> 31
        mask = self._mask
        return mixed & mask, mixed >> 16 & mask, mixed >> 32 & mask, mixed >> 48 & mask

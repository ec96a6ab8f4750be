"""The first keys of all flows as rows of bytes, so that one condition is held against all of them in one sweep.

A policy change must find the flows that a rule can touch.
An index for each way in which a rule may match would cost more memory than the flows themselves;
a sweep over packed rows costs nanoseconds a flow.
"""

from __future__ import annotations

from struct import Struct
from typing import Any, Final

import numpy as np

from ryu_apps.model.flow_key import PROTO_ICMP, PROTO_ICMPV6, Family, FlowKey
from ryu_apps.model.match import FULL_RANGE, Condition

# The key right-aligned in 56 bytes, its family, and the number of the flow's plan.
_ROW: Final = Struct("<56sB3xI")
_WORDS: Final = _ROW.size // 8
_FREE: Final = 0xFF
# Ethernet, IPv4 without options, and the transport ports.
KEPT_BYTES: Final = 38
_MOST_PENDING: Final = 4096
CHUNK_ROWS: Final = 32768

# Where the two ends of a key stand, as (shift, width) of the packed integer.
_SWAPS: Final[dict[Family, tuple[tuple[int, int, int], ...]]] = {
    Family.IPV4: ((192, 144, 48), (64, 32, 32), (16, 0, 16)),
    Family.IPV6: ((384, 336, 48), (160, 32, 128), (16, 0, 16)),
    Family.ND: ((384, 336, 48), (160, 32, 128), (16, 0, 16)),
    Family.ARP: ((192, 144, 48), (64, 32, 32)),
    Family.LINK: ((80, 32, 48),),
}
_PROTO_SHIFT: Final = {Family.IPV4: 104, Family.IPV6: 296, Family.ND: 296}


class _Chunk:
    """The rows of so many slots, and views of what is looked at in them."""

    def __init__(self) -> None:
        self.buffer = bytearray(_ROW.pack(b"", _FREE, 0) * CHUNK_ROWS)
        self.rows: Any = np.frombuffer(self.buffer, dtype="u1").reshape(-1, _ROW.size)
        self.words: Any = np.frombuffer(self.buffer, dtype="<u8").reshape(-1, _WORDS)
        self.ports: Any = np.frombuffer(self.buffer, dtype=">u2").reshape(-1, _ROW.size // 2)[:, 26:28]
        self.families: Any = self.rows[:, 56]
        self.plans: Any = np.frombuffer(self.buffer, dtype="<u4").reshape(-1, _ROW.size // 4)[:, 15]


class KeyRows:
    """One row for each slot of the flow table; a free slot matches nothing.

    Rows stand in chunks, so that the table grows without a pause in which all of them are copied.
    """

    def __init__(self) -> None:
        self._chunks: list[_Chunk] = []
        self._pending: dict[int, tuple[bytes, int, int]] = {}

    def put(self, slot: int, key: FlowKey, plan: int) -> None:
        """Set a slot's row."""
        self._set(slot, _ROW.pack(key.bits.to_bytes(56, "big"), key.family, plan))

    def put_header(self, slot: int, header: bytes, vlan_vid: int, plan: int) -> None:
        """Set a slot's row from the first KEPT_BYTES of an IPv4 packet; many such are written at once, when needed."""
        self._pending[slot] = header, vlan_vid, plan
        if len(self._pending) >= _MOST_PENDING:
            self._write()

    def clear(self, slot: int) -> None:
        """Free a slot's row."""
        if self._pending.pop(slot, None) is None:
            self._set(slot, _ROW.pack(b"", _FREE, 0))

    def _set(self, slot: int, row: bytes) -> None:
        number, place = divmod(slot, CHUNK_ROWS)
        while number >= len(self._chunks):
            self._chunks.append(_Chunk())
        self._chunks[number].buffer[place * _ROW.size : (place + 1) * _ROW.size] = row

    def _write(self) -> None:
        """Write the rows that are pending: the columns of all their headers, exchanged at once."""
        pending, self._pending = self._pending, {}
        if not pending:
            return
        slots = np.fromiter(pending, dtype=np.intp)
        headers = np.frombuffer(b"".join([header for header, _, _ in pending.values()]), dtype="u1")
        headers = headers.reshape(-1, KEPT_BYTES)
        rows = np.zeros((len(slots), _ROW.size), dtype="u1")
        rows[:, 26:38] = headers[:, 0:12]
        vlans = np.array([vlan_vid for _, vlan_vid, _ in pending.values()], dtype=">u2")
        rows[:, 38:40] = vlans.view("u1").reshape(-1, 2)
        rows[:, 40:42] = headers[:, 12:14]
        rows[:, 42] = headers[:, 23]
        rows[:, 43] = headers[:, 15] >> 2
        rows[:, 44:56] = headers[:, 26:38]
        rows[:, 56] = Family.IPV4
        plans = np.array([plan for _, _, plan in pending.values()], dtype="<u4")
        rows[:, 60:64] = plans.view("u1").reshape(-1, 4)
        numbers, places = np.divmod(slots, CHUNK_ROWS)
        for number in range(int(numbers.max()) + 1):
            if number == len(self._chunks):
                self._chunks.append(_Chunk())
            chosen = numbers == number
            self._chunks[number].rows[places[chosen]] = rows[chosen]

    def of_plan(self, plan: int) -> list[int]:
        """Return the slots of a plan's flows."""
        self._write()
        found: list[int] = []
        for number, chunk in enumerate(self._chunks):
            places = np.nonzero((chunk.plans == plan) & (chunk.families != _FREE))[0]
            found += (places + number * CHUNK_ROWS).tolist()
        return found

    def matching(self, family: Family, condition: Condition, *, reply: bool) -> list[tuple[int, int]]:
        """Return (slot, plan) of the flows whose first key, or that of its reply, meets the condition.

        For replies to ICMP queries, whose type changes, the type is not looked at: some may be found that do not match.
        """
        self._write()
        mask, value = condition.mask, condition.value
        src, dst = condition.l4_src, condition.l4_dst
        if reply:
            mask, value, src, dst = _as_first(family, mask, value), _as_first(family, value, value), dst, src
        words = np.frombuffer(_ROW.pack(mask.to_bytes(56, "big"), 0, 0), dtype="<u8")
        wanted = np.frombuffer(_ROW.pack((value & mask).to_bytes(56, "big"), 0, 0), dtype="<u8")
        found: list[tuple[int, int]] = []
        for number, chunk in enumerate(self._chunks):
            met = chunk.families == family
            for position in np.nonzero(words)[0]:
                met &= chunk.words[:, position] & words[position] == wanted[position]
            for column, (low, high) in ((0, src), (1, dst)):
                if (low, high) != FULL_RANGE:
                    met &= (chunk.ports[:, column] >= low) & (chunk.ports[:, column] <= high)
            places = np.nonzero(met)[0]
            slots = (places + number * CHUNK_ROWS).tolist()
            found += zip(slots, chunk.plans[places].tolist(), strict=True)
        return found


def _as_first(family: Family, bits: int, value: int) -> int:
    """Return a condition's bits on a reply as bits on the packet that it answers: the ends exchanged."""
    icmp = family in _PROTO_SHIFT and value >> _PROTO_SHIFT[family] & 0xFF in (PROTO_ICMP, PROTO_ICMPV6)
    for high, low, width in _SWAPS[family]:
        full = (1 << width) - 1
        first, second = bits >> high & full, bits >> low & full
        bits &= ~(full << high | full << low)
        if not (icmp and width == 16):
            bits |= second << high | first << low
    return bits

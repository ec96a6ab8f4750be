"""The first keys of all flows as rows of bytes, so that one condition is held against all of them in one sweep.

A policy change must find the flows that a rule can touch.
An index for each way in which a rule may match would cost more memory than the flows themselves;
a sweep over packed rows costs nanoseconds a flow.
Rows that do not change between sweeps are outlined, and left out where nothing in them can be meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from mmap import MAP_ANONYMOUS, MAP_POPULATE, MAP_PRIVATE, mmap
from struct import Struct
from typing import Any, Final, NamedTuple

import numpy as np

from ryu_apps.control.outline import Outline, outline
from ryu_apps.model.flow_key import PROTO_ICMP, PROTO_ICMPV6, Family, FlowKey
from ryu_apps.model.match import FULL_RANGE, Condition

# The key right-aligned in 56 bytes, its family counted from 1 (0 is a free row), the number of the flow's plan;
# and what is not looked for but kept here: the flow's id, and when it began.
_KEY: Final = Struct("<56sB3xI")
_REST: Final = Struct("<I4xd")
ROW_BYTES: Final = _KEY.size + _REST.size
_FREE: Final = bytes(ROW_BYTES)
_KEY_BYTES: Final = 56
_WORDS: Final = ROW_BYTES // 8
# The addresses and ports of an IPv4 key, at its end: what differs among flows of one kind.
ENDS_BYTES: Final = 12
_ENDS_AT: Final = _KEY_BYTES - ENDS_BYTES
_write_ends: Final = Struct(f"<{_ENDS_AT}s{ENDS_BYTES}s{_KEY.size - _KEY_BYTES}sI4xd").pack_into
# A sweep costs some microseconds for each chunk, and an outline of one is a pause of 200 us.
CHUNK_ROWS: Final = 4096
# An outline costs what some sweeps cost: it is made for a chunk that so many sweeps have found as it was.
_SWEEPS_UNCHANGED: Final = 6
# So many are made in one sweep at most: one takes 200 us, and misses wait meanwhile.
_OUTLINES_AT_ONCE: Final = 2

_FEW: Final = 8

# Where the two ends of a key stand, as (shift, width) of the packed integer.
_SWAPS: Final[dict[Family, tuple[tuple[int, int, int], ...]]] = {
    Family.IPV4: ((192, 144, 48), (64, 32, 32), (16, 0, 16)),
    Family.IPV6: ((384, 336, 48), (160, 32, 128), (16, 0, 16)),
    Family.ND: ((384, 336, 48), (160, 32, 128), (16, 0, 16)),
    Family.ARP: ((192, 144, 48), (64, 32, 32)),
    Family.LINK: ((80, 32, 48),),
}
_PROTO_SHIFT: Final = {Family.IPV4: 104, Family.IPV6: 296, Family.ND: 296}


class RowShape(NamedTuple):
    """What stands before and behind addresses and ports in the rows of flows of one kind."""

    head: bytes
    tail: bytes


NO_SHAPE: Final = RowShape(b"", b"")


def row_shape(key: FlowKey, plan: int) -> RowShape:
    """Return the shape of rows of IPv4 keys that differ from this one in addresses and ports alone."""
    row = _key_part(key, plan)
    return RowShape(row[:_ENDS_AT], row[_KEY_BYTES:])


def _key_part(key: FlowKey, plan: int) -> bytes:
    return _KEY.pack(key.bits.to_bytes(_KEY_BYTES, "big"), key.family + 1, plan)


class _Chunk:
    """The rows of so many slots, and views of what is looked at in them.

    sweeps: how many there were since a row was last set.
    """

    def __init__(self, buffer: mmap) -> None:
        self.sweeps = 0
        self._outlines: dict[int, Outline] | None = None
        self.buffer = buffer
        self.rows: Any = np.frombuffer(buffer, dtype="u1").reshape(-1, ROW_BYTES)
        self.words: Any = self.rows.view("<u8")
        self.ports: Any = self.rows.view(">u2")[:, 26:28]
        self.families: Any = self.rows[:, 56]
        self.plans: Any = self.rows.view("<u4")[:, 15]
        self.ids: Any = self.rows.view("<u4")[:, 16]

    def swept(self) -> bool:
        """Count a sweep; return whether so many have found the rows as they were that an outline of them is due."""
        if not self.sweeps:
            self._outlines = None
        self.sweeps += 1
        return self._outlines is None and self.sweeps > _SWEEPS_UNCHANGED

    def outline(self) -> None:
        """Note what the rows of each family have; rows that are freed from now on only leave it too wide."""
        counts = np.bincount(self.families)
        self._outlines = {
            number - 1: outline(self.words[self.families == number, : _KEY_BYTES // 8])
            for number in np.flatnonzero(counts).tolist()
            if number
        }

    def may_meet(self, family: Family, condition: Condition) -> bool:
        """Return whether a row may be of the family and meet the condition, after `swept`."""
        if self._outlines is None:
            return True
        found = self._outlines.get(family)
        return found is not None and found.may_meet(condition)


class KeyRows:
    """One row for each slot of the flow table; a free slot matches nothing.

    Rows stand in chunks, so that the table grows without a pause in which all of them are copied.
    Memory for the first `ready` rows is there at once, so that no row has to wait for it.
    """

    def __init__(self, ready: int = 0) -> None:
        self._chunks: list[_Chunk] = []
        self._ready = [_memory(MAP_POPULATE) for _ in range(0, ready, CHUNK_ROWS)]

    def put(self, slot: int, key: FlowKey, plan: int, flow_id: int = 0, began_s: float = 0.0) -> None:
        """Set a slot's row."""
        self._chunk(slot).sweeps = 0
        self._set(slot, _key_part(key, plan) + _REST.pack(flow_id, began_s))

    def put_ends(self, slot: int, shape: RowShape, ends: bytes, flow_id: int = 0, began_s: float = 0.0) -> None:
        """Set a slot's row from the ENDS_BYTES with the addresses and ports of an IPv4 packet."""
        head, tail = shape
        number, chunks = slot // CHUNK_ROWS, self._chunks
        chunk = chunks[number] if number < len(chunks) else self._chunk(slot)
        chunk.sweeps = 0
        _write_ends(chunk.buffer, slot % CHUNK_ROWS * ROW_BYTES, head, ends, tail, flow_id, began_s)

    def clear(self, slot: int) -> None:
        """Free a slot's row."""
        self._set(slot, _FREE)

    def get(self, slot: int) -> tuple[FlowKey, int, float]:
        """Return what a slot's row was set to, which must not be free: key, flow id, and when it began."""
        start = slot % CHUNK_ROWS * ROW_BYTES
        row = self._chunk(slot).buffer[start : start + ROW_BYTES]
        flow_id, began_s = _REST.unpack_from(row, _KEY.size)
        return FlowKey(Family(row[_KEY_BYTES] - 1), int.from_bytes(row[:_KEY_BYTES], "big")), flow_id, began_s

    def _set(self, slot: int, row: bytes) -> None:
        start = slot % CHUNK_ROWS * ROW_BYTES
        self._chunk(slot).buffer[start : start + ROW_BYTES] = row

    def _chunk(self, slot: int) -> _Chunk:
        """Return what holds a slot's row, made when there was none so far."""
        while slot >= len(self._chunks) * CHUNK_ROWS:
            # What is not ready the system gives page by page as rows are set: all of it at once would be a pause.
            self._chunks.append(_Chunk(self._ready.pop() if self._ready else _memory()))
        return self._chunks[slot // CHUNK_ROWS]

    def of_plan(self, plan: int) -> list[int]:
        """Return the slots of a plan's flows."""
        found: list[int] = []
        for number, chunk in enumerate(self._chunks):
            places = np.nonzero((chunk.plans == plan) & (chunk.families != 0))[0]
            found += (places + number * CHUNK_ROWS).tolist()
        return found

    def ids_of_plans(self, plans: Iterable[int], first: int = 0) -> Iterator[tuple[int, bytes]]:
        """Yield the ids of the flows that have one of these plans, chunk by chunk, from a chunk on and round.

        Each chunk comes with its number; an id is four bytes in this machine's order.
        """
        wanted, count = np.fromiter(plans, dtype="<u4"), len(self._chunks)
        for number in (place % count for place in range(first, first + count)):
            chunk = self._chunks[number]
            ids = chunk.ids[_is_one_of(chunk.plans, wanted) & (chunk.families != 0)]
            yield number, ids.astype("=u4").tobytes()

    def matching(self, family: Family, condition: Condition, *, reply: bool) -> list[tuple[int, int]]:
        """Return (slot, plan) of the flows whose first key, or that of its reply, meets the condition.

        For replies to ICMP queries, whose type changes, the type is not looked at: some may be found that do not match.
        """
        mask, value = condition.mask, condition.value
        src, dst = condition.l4_src, condition.l4_dst
        if reply:
            mask, value, src, dst = _as_first(family, mask, value), _as_first(family, value, value), dst, src
        chunks = self._worth_a_sweep(family, Condition(mask, value & mask, src, dst))
        if not chunks:
            return []
        words = np.frombuffer(_KEY.pack(mask.to_bytes(56, "big"), 0, 0), dtype="<u8")
        wanted = np.frombuffer(_KEY.pack((value & mask).to_bytes(56, "big"), 0, 0), dtype="<u8")
        found: list[tuple[int, int]] = []
        for number, chunk in chunks:
            met = chunk.families == family + 1
            for position in np.nonzero(words)[0]:
                if not met.any():
                    break
                met &= chunk.words[:, position] & words[position] == wanted[position]
            for column, (low, high) in ((0, src), (1, dst)):
                if (low, high) != FULL_RANGE:
                    met &= (chunk.ports[:, column] >= low) & (chunk.ports[:, column] <= high)
            places = np.nonzero(met)[0]
            slots = (places + number * CHUNK_ROWS).tolist()
            found += zip(slots, chunk.plans[places].tolist(), strict=True)
        return found

    def _worth_a_sweep(self, family: Family, condition: Condition) -> list[tuple[int, _Chunk]]:
        """Return the chunks, numbered, of which rows of a family may meet a condition."""
        due = _OUTLINES_AT_ONCE
        found: list[tuple[int, _Chunk]] = []
        for number, chunk in enumerate(self._chunks):
            if chunk.swept() and due:
                chunk.outline()
                due -= 1
            if chunk.may_meet(family, condition):
                found.append((number, chunk))
        return found


def _memory(how: int = 0) -> mmap:
    """Return memory for a chunk, all 0."""
    return mmap(-1, ROW_BYTES * CHUNK_ROWS, flags=MAP_PRIVATE | MAP_ANONYMOUS | how)


def _is_one_of(column: Any, wanted: Any) -> Any:
    """Return which values of a column are wanted; for a few it costs a tenth of numpy's own."""
    if len(wanted) > _FEW:
        return np.isin(column, wanted)
    met = np.zeros(len(column), dtype=bool)
    for value in wanted:
        met |= column == value
    return met


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

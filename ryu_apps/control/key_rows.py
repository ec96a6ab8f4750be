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

# Where the two ends of a key stand, as (shift, width) of the packed integer.
_SWAPS: Final[dict[Family, tuple[tuple[int, int, int], ...]]] = {
    Family.IPV4: ((192, 144, 48), (64, 32, 32), (16, 0, 16)),
    Family.IPV6: ((384, 336, 48), (160, 32, 128), (16, 0, 16)),
    Family.ND: ((384, 336, 48), (160, 32, 128), (16, 0, 16)),
    Family.ARP: ((192, 144, 48), (64, 32, 32)),
    Family.LINK: ((80, 32, 48),),
}
_PROTO_SHIFT: Final = {Family.IPV4: 104, Family.IPV6: 296, Family.ND: 296}


class KeyRows:
    """One row for each slot of the flow table; a free slot matches nothing."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._pending: dict[int, tuple[bytes, int, int]] = {}
        self._view()

    def put(self, slot: int, key: FlowKey, plan: int) -> None:
        """Set a slot's row."""
        self._reach(slot)
        _ROW.pack_into(self._buffer, slot * _ROW.size, key.bits.to_bytes(56, "big"), key.family, plan)

    def put_header(self, slot: int, header: bytes, vlan_vid: int, plan: int) -> None:
        """Set a slot's row from the first KEPT_BYTES of an IPv4 packet; many such are written at once, when needed."""
        self._pending[slot] = header, vlan_vid, plan
        if len(self._pending) >= _MOST_PENDING:
            self._write()

    def clear(self, slot: int) -> None:
        """Free a slot's row."""
        if self._pending.pop(slot, None) is None:
            _ROW.pack_into(self._buffer, slot * _ROW.size, b"", _FREE, 0)

    def _write(self) -> None:
        """Write the rows that are pending: the columns of all their headers, exchanged at once."""
        pending, self._pending = self._pending, {}
        if not pending:
            return
        slots = np.fromiter(pending, dtype=np.intp)
        self._reach(int(slots.max()))
        headers = np.frombuffer(b"".join([header for header, _, _ in pending.values()]), dtype="u1")
        headers = headers.reshape(-1, KEPT_BYTES)
        keys = np.zeros((len(slots), _ROW.size), dtype="u1")
        keys[:, 26:38] = headers[:, 0:12]
        vlans = np.array([vlan_vid for _, vlan_vid, _ in pending.values()], dtype=">u2")
        keys[:, 38:40] = vlans.view("u1").reshape(-1, 2)
        keys[:, 40:42] = headers[:, 12:14]
        keys[:, 42] = headers[:, 23]
        keys[:, 43] = headers[:, 15] >> 2
        keys[:, 44:56] = headers[:, 26:38]
        keys[:, 56] = Family.IPV4
        plans = np.array([plan for _, _, plan in pending.values()], dtype="<u4")
        keys[:, 60:64] = plans.view("u1").reshape(-1, 4)
        self._rows[slots] = keys

    def _reach(self, slot: int) -> None:
        """Grow so that a slot has a row."""
        while slot * _ROW.size >= len(self._buffer):
            grown = bytearray(max(_ROW.size * 1024, 2 * len(self._buffer)))
            grown[: len(self._buffer)] = self._buffer
            grown[len(self._buffer) :] = _ROW.pack(b"", _FREE, 0) * ((len(grown) - len(self._buffer)) // _ROW.size)
            self._buffer = grown
            self._view()

    def _view(self) -> None:
        self._rows: Any = np.frombuffer(self._buffer, dtype="u1").reshape(-1, _ROW.size)
        self._words: Any = np.frombuffer(self._buffer, dtype="<u8").reshape(-1, _WORDS)
        self._ports: Any = np.frombuffer(self._buffer, dtype=">u2").reshape(-1, _ROW.size // 2)[:, 26:28]
        self._families: Any = np.frombuffer(self._buffer, dtype="u1").reshape(-1, _ROW.size)[:, 56]
        self._plans: Any = np.frombuffer(self._buffer, dtype="<u4").reshape(-1, _ROW.size // 4)[:, 15]

    def of_plan(self, plan: int) -> list[int]:
        """Return the slots of a plan's flows."""
        self._write()
        found: list[int] = np.nonzero((self._plans == plan) & (self._families != _FREE))[0].tolist()
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
        met = self._families == family
        for position in np.nonzero(words)[0]:
            met &= self._words[:, position] & words[position] == wanted[position]
        for column, (low, high) in ((0, src), (1, dst)):
            if (low, high) != FULL_RANGE:
                met &= (self._ports[:, column] >= low) & (self._ports[:, column] <= high)
        slots = np.nonzero(met)[0]
        return list(zip(slots.tolist(), self._plans[slots].tolist(), strict=True))


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

"""The Internet checksum (RFC 1071) and its incremental update (RFC 1624)."""

from __future__ import annotations

import struct


def word_sum(data: bytes | bytearray) -> int:
    """Return the sum of the 16-bit words of data, a last odd byte padded with zero."""
    if len(data) % 2:
        data = bytes(data) + b"\0"
    return sum(struct.unpack(f"!{len(data) // 2}H", data))


def checksum(data: bytes | bytearray) -> int:
    """Return the checksum over data in which the checksum field is zero."""
    return ~_fold(word_sum(data)) & 0xFFFF


def updated(old: int, change: int) -> int:
    """Return a checksum after the sum of the words that it covers has changed by `change` (RFC 1624, equation 3)."""
    return ~_fold((~old & 0xFFFF) + change) & 0xFFFF


def _fold(total: int) -> int:
    """Return a one's complement sum in 16 bits; a negative total wraps as subtraction does there."""
    return total % 0xFFFF if total % 0xFFFF or not total else 0xFFFF

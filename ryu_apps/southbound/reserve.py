"""Memory that the process holds before it needs it.

A page that is touched for the first time is a page fault, and in a virtual machine the host may have to find the page
first: that takes 10 to 20 us, one in some hundreds takes a millisecond, and all misses behind it wait.
New connections touch a page every dozen misses, so memory for many is touched at the start, where nobody waits.
"""

from __future__ import annotations

from typing import Final

from ryu_apps.control.key_rows import ROW_BYTES

READY_FLOWS: Final = 1_250_000
"""For how many connections memory is held, unless the operator or the machine's size says otherwise.

A million that stand, and a quarter as many that begin before others end.
"""

MOST_READY_FLOWS: Final = 16_000_000
"""How many the operator may ask for: some 4 GiB."""

# What a flow of IPv4 takes: numbers by which it is found, and its share of tables.
_SMALL_BYTES: Final = 80
_LARGE_BYTES: Final = 100
FLOW_BYTES: Final = _SMALL_BYTES + _LARGE_BYTES + ROW_BYTES
# Of the memory that the process may use no more than this part is taken unasked.
_PART: Final = 64

# CPython takes objects of up to 512 bytes from arenas of 1 MiB (256 KiB in some builds), and gives back an arena that
# is all free: one object in each keeps it.
_SMALL: Final = 448
_KEEP_EVERY: Final = (256 << 10) // _SMALL
# Larger ones are the C library's: it lays those below 128 KiB one behind the other, and gives back what is free at the
# end alone.
_LARGE: Final = 64 << 10
_HEAD_BYTES: Final = 64


def ready_flows(usable_bytes: int) -> int:
    """Return for how many flows memory is held unasked by a process that may use so much."""
    return min(READY_FLOWS, usable_bytes // _PART // FLOW_BYTES)


def reserve(flows: int) -> list[bytes]:
    """Return what keeps touched memory for so many flows in the process; their rows have their own (`KeyRows`).

    The memory is free for use; for as long as the list lives none of it goes back to the system.
    """
    # Bytes that are not 0, and each object with its own: zeros would not be written.
    small = [_touched(_SMALL, number) for number in range(flows * _SMALL_BYTES // _SMALL)]
    large = [_touched(_LARGE, number) for number in range(flows * _LARGE_BYTES // _LARGE)]
    return small[::_KEEP_EVERY] + large[-1:]


def _touched(size: int, number: int) -> bytes:
    return bytes((number % 255 + 1,)) * (size - _HEAD_BYTES)

"""Memory that the process holds before it needs it.

A page that is touched for the first time is a page fault, and in a virtual machine the host may have to find the page
first: most take some microseconds, but one in some hundreds takes a millisecond, and all misses behind it wait.
New connections touch a page every dozen misses, so memory for many is touched at the start, where nobody waits.
"""

from __future__ import annotations

from typing import Final

SMALL_BYTES: Final = 64 << 20
LARGE_BYTES: Final = 32 << 20
RESERVED_BYTES: Final = SMALL_BYTES + LARGE_BYTES

# CPython takes objects of up to 512 bytes from arenas of 1 MiB (256 KiB in some builds), and gives back an arena that
# is all free: one object in each keeps it.
_SMALL: Final = 448
_KEEP_EVERY: Final = (256 << 10) // _SMALL
# Larger ones are the C library's: it lays those below 128 KiB one behind the other, and gives back what is free at the
# end alone.
_LARGE: Final = 64 << 10
_HEAD_BYTES: Final = 64


def reserve(small_bytes: int = SMALL_BYTES, large_bytes: int = LARGE_BYTES) -> list[bytes]:
    """Return what keeps so much touched memory in the process, for small objects and for larger ones.

    The memory is free for use; for as long as the list lives none of it goes back to the system.
    """
    # Bytes that are not 0, and each object with its own: zeros would not be written.
    small = [_touched(_SMALL, number) for number in range(small_bytes // _SMALL)]
    large = [_touched(_LARGE, number) for number in range(large_bytes // _LARGE)]
    return small[::_KEEP_EVERY] + large[-1:]


def _touched(size: int, number: int) -> bytes:
    return bytes((number % 255 + 1,)) * (size - _HEAD_BYTES)

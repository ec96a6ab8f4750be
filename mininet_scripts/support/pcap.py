"""Reading capture files in the classic libpcap format."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

_FILE_HEADER_BYTES = 24
_RECORD = "IIII"  # seconds, microseconds, bytes kept, bytes on the wire


class Seen(NamedTuple):
    """A captured frame and when it was seen, in microseconds since the epoch."""

    at_us: int
    frame: bytes


def frames(path: Path) -> list[bytes]:
    """Return the frames of a capture; a record that is still being written is left out."""
    return [seen.frame for seen in timed(path)]


def timed(path: Path) -> list[Seen]:
    """Return the frames of a capture with their times; a record that is still being written is left out."""
    data = path.read_bytes() if path.exists() else b""
    if len(data) < _FILE_HEADER_BYTES:
        return []
    order = "<" if struct.unpack_from("<I", data)[0] in (0xA1B2C3D4, 0xA1B23C4D) else ">"
    header = struct.Struct(order + _RECORD)
    found, offset = [], _FILE_HEADER_BYTES
    while offset + header.size <= len(data):
        at_s, us, kept, _ = header.unpack_from(data, offset)
        start = offset + header.size
        if start + kept > len(data):
            break
        found.append(Seen(at_s * 1_000_000 + us, data[start : start + kept]))
        offset = start + kept
    return found

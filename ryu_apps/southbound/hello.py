"""The hello: ours says 1.4 and nothing else; the peer's is read without trust."""

from __future__ import annotations

from typing import Final

from ryu_apps.southbound.malformed import Malformed
from ryu_apps.southbound.wire import HEADER, VERSION, Type

_VERSION_BITMAP: Final = 1
_HELLO_FAILED: Final = 0
_INCOMPATIBLE: Final = 0


def ours(xid: int) -> bytes:
    """Return our hello with the bitmap of versions (OpenFlow 1.4.0, section 7.5.1)."""
    element = _VERSION_BITMAP.to_bytes(2, "big") + (8).to_bytes(2, "big") + (1 << VERSION).to_bytes(4, "big")
    return HEADER.pack(VERSION, Type.HELLO, 8 + len(element), xid) + element


def agreed(message: bytes) -> bool:
    """Return whether a peer's hello lets us speak 1.4 (OpenFlow 1.4.0, section 6.3.1); Malformed on bad elements."""
    at, end = 8, len(message)
    bitmap: bytes | None = None
    while at < end:
        if end - at < 4:
            raise Malformed("hello element")
        kind = int.from_bytes(message[at : at + 2], "big")
        length = int.from_bytes(message[at + 2 : at + 4], "big")
        if length < 4 or at + length > end:
            raise Malformed("hello element")
        if kind == _VERSION_BITMAP and bitmap is None:
            bitmap = message[at + 4 : at + length]
        at += (length + 7) // 8 * 8
    if bitmap is None or len(bitmap) < 4:
        return message[0] >= VERSION
    return bool(int.from_bytes(bitmap[:4], "big") >> VERSION & 1)


def refusal(message: bytes) -> bytes:
    """Return the error that tells a peer why its hello is refused (OpenFlow 1.4.0, section 7.5.4.1)."""
    text = b"this controller speaks OpenFlow 1.4 (version 0x05) only; allow it on the switch, protocols=OpenFlow14"
    version = min(message[0], VERSION) or 1
    head = HEADER.pack(version, Type.ERROR, 12 + len(text), int.from_bytes(message[4:8], "big"))
    return head + _HELLO_FAILED.to_bytes(2, "big") + _INCOMPATIBLE.to_bytes(2, "big") + text

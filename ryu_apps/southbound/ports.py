"""The ports of a datapath, name to number."""

from __future__ import annotations

from struct import Struct
from typing import Final

from ryu_apps.southbound.malformed import Malformed
from ryu_apps.southbound.wire import VERSION, Type

_REQUEST: Final = Struct("!BBHIHH4x")
_MULTIPART_PORT_DESC: Final = 13

# Port description (OpenFlow 1.4.0, section 7.2.1): port_no, length, hw_addr, name, config, state; properties.
_PORT: Final = Struct("!IH2x6x2x16s8x")


def request(xid: int) -> bytes:
    """Return the request for all port descriptions."""
    return _REQUEST.pack(VERSION, Type.MULTIPART_REQUEST, _REQUEST.size, xid, _MULTIPART_PORT_DESC, 0)


def decode(body: bytes) -> dict[str, int]:
    """Return the ports in the body of one reply, the switch's own LOCAL port included; Malformed on bad lengths."""
    ports: dict[str, int] = {}
    at = 0
    while at < len(body):
        if len(body) - at < _PORT.size:
            raise Malformed("short port description")
        port_no, length, name = _PORT.unpack_from(body, at)
        if length < _PORT.size or at + length > len(body):
            raise Malformed("port description")
        ports[name_text(name)] = port_no
        at += length
    return ports


def name_text(name: bytes) -> str:
    """Return a port's name from its zero-padded bytes."""
    return name.partition(b"\0")[0].decode("utf-8", "replace")

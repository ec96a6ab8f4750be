"""OpenFlow errors in words."""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import Final

from ryu.ofproto import ofproto_v1_4 as ofp

from ryu_apps.southbound.handler import Refusal
from ryu_apps.southbound.wire import Type

_ERROR_AT: Final = 8
_ERROR: Final = Struct("!HH")
_BUNDLE_ADD_BYTES: Final = 16


def refusal(message: bytes) -> Refusal:
    """Return what an error message says (OpenFlow 1.4.0, section 7.5.4)."""
    if len(message) < _ERROR_AT + _ERROR.size:
        return Refusal(type=-1, code=-1, text="unknown error", message_type=-1, cookie=0)
    kind, code = _ERROR.unpack_from(message, _ERROR_AT)
    data = message[_ERROR_AT + _ERROR.size :]
    if len(data) > _BUNDLE_ADD_BYTES and data[1] == Type.BUNDLE_ADD_MESSAGE:
        data = data[_BUNDLE_ADD_BYTES:]
    message_type = data[1] if len(data) >= 2 else -1
    cookie = int.from_bytes(data[8:16], "big") if message_type == Type.FLOW_MOD and len(data) >= 16 else 0
    return Refusal(type=kind, code=code, text=in_words(kind, code), message_type=message_type, cookie=cookie)


@lru_cache(maxsize=1024)
def in_words(kind: int, code: int) -> str:
    """Return an error's type and code by OpenFlow's names (OpenFlow 1.4.0, section 7.5.4).

    Counters carry the text, so all that has no name shares one.
    """
    if kind == ofp.OFPET_EXPERIMENTER:
        return "OFPET_EXPERIMENTER"
    words = f"{ofp.ofp_error_type_to_str(kind)}, {ofp.ofp_error_code_to_str(kind, code)}"
    return "unknown error" if "Unknown" in words else words

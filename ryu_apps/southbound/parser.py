"""Ryu's parser on a leash: what it cannot read, or would read for ever, becomes Malformed."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any, Final

from ryu.ofproto import ofproto_v1_4_parser

from ryu_apps.southbound.malformed import Malformed
from ryu_apps.southbound.wire import VERSION, Type

# A forwarded request (section 7.4.6) is left out: nobody here asks for it, and it holds a message of any version.
FROM_SWITCH: Final = frozenset(
    {
        Type.HELLO, Type.ERROR, Type.ECHO_REQUEST, Type.ECHO_REPLY, Type.EXPERIMENTER, Type.FEATURES_REPLY,
        Type.GET_CONFIG_REPLY, Type.PACKET_IN, Type.FLOW_REMOVED, Type.PORT_STATUS, Type.MULTIPART_REPLY,
        Type.BARRIER_REPLY, Type.ROLE_REPLY, Type.GET_ASYNC_REPLY, Type.ROLE_STATUS, Type.TABLE_STATUS,
        Type.BUNDLE_CONTROL,
    }
)  # fmt: skip

# The most costly honest message is a list of one-byte table ids, at 4 calls each.
_CALLS_PER_BYTE: Final = 8
_CALLS_AT_LEAST: Final = 2000
_CALLS: Final = frozenset({"call", "c_call"})


class _EndlessError(Exception):
    """The parser has made more calls than any honest message needs."""


def parse(datapath: Any, kind: int, xid: int, message: bytes) -> Any:
    """Return Ryu's object for a message of a switch; Malformed when it is none or does not parse in due time.

    About 20 of Ryu's loops advance by a length that the peer wrote, and never end when it is 0 (faucetsdn/ryu,
    issues 188 to 196). Every turn of each makes calls, so counting calls ends them all without knowing any.
    """
    if kind not in FROM_SWITCH:
        raise Malformed("type")
    left = _CALLS_AT_LEAST + _CALLS_PER_BYTE * len(message)

    def count(frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal left
        if event in _CALLS:
            left -= 1
            # Elsewhere, in a finalizer or a callback of the collector, the exception would be lost, and the leash too.
            if left < 0 and frame.f_globals.get("__name__", "").startswith("ryu."):
                raise _EndlessError

    profiler = sys.getprofile()
    try:
        sys.setprofile(count)
        return ofproto_v1_4_parser.msg_parser(datapath, VERSION, kind, len(message), xid, bytearray(message))
    except _EndlessError:
        raise Malformed("endless element") from None
    except Exception as fault:
        raise Malformed("not parsed") from fault
    finally:
        sys.setprofile(profiler)

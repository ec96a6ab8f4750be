"""Byte templates of the messages that answer a miss: one struct per shape of entry, one pack per message.

The plain twin is `codec.flow_mod(compile_cached(entry))`, whose bytes these equal.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct, calcsize
from typing import Final

from ryu_apps.model.fields import FIELDS, SETTABLE
from ryu_apps.model.flow_key import CUSTOMER_TAG, KEY_BYTES, Family, FlowKey
from ryu_apps.model.rules import Direction
from ryu_apps.model.transposition import Transposition, transposition
from ryu_apps.pipeline.cached import (
    CACHED_PRIORITY,
    FIN_HARD_TIMEOUT_S,
    FIN_IDLE_TIMEOUT_S,
    CachedEntry,
    compile_cached,
)
from ryu_apps.pipeline.editing import edit_actions
from ryu_apps.pipeline.registers import RECEIVER, SEGMENT, SENDER
from ryu_apps.pipeline.tables import NUMBER
from ryu_apps.southbound import wire
from ryu_apps.southbound.codec import flow_mod
from ryu_apps.southbound.layout import layout, match_format
from ryu_apps.southbound.wire import oxm

_LINK, _IPV4, _IPV6 = Family.LINK, Family.IPV4, Family.IPV6
_OUTBOUND: Final = Direction.OUTBOUND
_MAX_SHAPES: Final = 4096
_FLOW_MOD: Final = wire.VERSION << 24 | wire.Type.FLOW_MOD << 16

# Flow-mod after the cookie (OpenFlow 1.4.0, section 7.3.4.1): cookie_mask, table_id, command, idle_timeout,
# hard_timeout, priority, buffer_id, out_port, out_group, flags, importance; then the header of the match.
_FIXED: Final = Struct("!QBBHHHIIIHHHH")
_BEFORE_MATCH: Final = 48
_APPLY: Final = Struct("!HH4x")
_FIN: Final = wire.fin_timeout(FIN_IDLE_TIMEOUT_S, FIN_HARD_TIMEOUT_S)
_GOTO: Final = {table: Struct("!HHB3x").pack(wire.GOTO_TABLE, 8, number) for table, number in NUMBER.items()}

_Split = Callable[[bytes], tuple[bytes, ...]]
_Shape = tuple[int, _Split, Callable[..., bytes], int, bytes, bytes, bytes, bytes, bytes, bytes, bytes]
_Wanted = tuple[int, int, bool, bool, int, bool, int, int, bool]
_shapes: dict[_Wanted, _Shape] = {}


def add(made: CachedEntry) -> bytes:
    """Return the flow-mod that adds a cached entry, and asks to be told of its removal."""
    return _flow_mod(made, wire.ADD)


def delete_strict(made: CachedEntry) -> bytes:
    """Return the flow-mod that removes a cached entry, whatever its cookie and timeouts are."""
    return _flow_mod(made, wire.DELETE_STRICT)


def _flow_mod(made: CachedEntry, command: int) -> bytes:
    cookie, direction, segment, vport, (family, bits), exact_dscp, allow, edit, idle_s, hard_s, treatment, fin = made
    if treatment is not None and command == wire.ADD:
        return flow_mod(compile_cached(made), command)  # Rare, and of too many shapes.
    if edit.edits and edit.edits[-1][0] == "vlan_vid":
        return flow_mod(compile_cached(made), command)
    if family is _IPV4:
        tagged = bits & _TAGGED_IPV4
        proto_dscp = bits >> 96 & (0xFF3F if exact_dscp else 0xFF00)
    elif family is _IPV6:
        tagged = bits & _TAGGED_IPV6
        proto_dscp = bits >> 288 & (0xFF3F if exact_dscp else 0xFF00)
    elif family is _LINK:
        tagged = bits & _TAGGED_LINK
        proto_dscp = 0
    else:
        return flow_mod(compile_cached(made), command)
    if tagged:
        return flow_mod(compile_cached(made), command)  # A customer's tag is rare too.
    outbound = direction is _OUTBOUND
    wanted = (family, proto_dscp, exact_dscp, outbound, command, allow, idle_s, hard_s, fin)
    shape = _shapes.get(wanted) or _remember(wanted)
    size, split, pack, length, fixed, to_third, to_fourth, to_fifth, to_sixth, to_register, tail = shape
    if allow and edit.edits and command == wire.ADD:
        tail = _instructions(edit, made.key, proto_dscp >> 8, outbound, fin)
    dst, src, third, fourth, fifth, sixth = split(bits.to_bytes(size, "big"))
    return (
        pack(
            _FLOW_MOD | length + len(tail), cookie, fixed, _TO_SRC, src, _TO_DST, dst, to_third, third,
            to_fourth, fourth, to_fifth, fifth, to_sixth, sixth, _TO_SEGMENT, segment, to_register, vport,
        )
        + tail
    )  # fmt: skip


_TAGGED_LINK, _TAGGED_IPV4, _TAGGED_IPV6 = (
    CUSTOMER_TAG << FIELDS["vlan_vid"].shifts[family] for family in (_LINK, _IPV4, _IPV6)
)
_TO_SRC, _TO_DST, _TO_SEGMENT = oxm("eth_src"), oxm("eth_dst"), oxm(SEGMENT)


def _remember(wanted: _Wanted) -> _Shape:
    if len(_shapes) >= _MAX_SHAPES:
        _shapes.clear()
    _shapes[wanted] = shape = _shape(*wanted)
    return shape


def _shape(
    family: int, proto_dscp: int, exact_dscp: bool, outbound: bool, command: int, allow: bool, idle_s: int, hard_s: int,
    fin: bool,
) -> _Shape:
    """Return what all flow-mods of one shape have in common, and the structs that part a key and join a message."""
    made = layout(family, proto_dscp >> 8, proto_dscp & 0x3F if exact_dscp else None)
    match = match_format(made)
    match_bytes = 4 + calcsize("!" + match)
    padding = -match_bytes % 8
    adding = command == wire.ADD
    fixed = _FIXED.pack(
        0, NUMBER["outbound" if outbound else "inbound"], command, idle_s if adding else 0, hard_s if adding else 0,
        CACHED_PRIORITY, wire.NO_BUFFER, wire.ANY, wire.ANY, wire.SEND_FLOW_REM if adding else 0, 0,
        wire.MATCH_OXM, match_bytes,
    )  # fmt: skip
    pack = Struct(f"!I4xQ{_FIXED.size}s{match}{padding}x").pack
    tail = b""
    if adding:
        tail = (_APPLY.pack(wire.APPLY_ACTIONS, 8 + len(_FIN)) + _FIN if fin else b"") + (
            _GOTO["deliver" if outbound else "closing"] if allow else b""
        )
    length = _BEFORE_MATCH + match_bytes + padding
    register = oxm(SENDER if outbound else RECEIVER)
    split = Struct("!" + made.in_key).unpack
    return KEY_BYTES[Family(family)], split, pack, length, fixed, *made.before, register, tail


_Setter = tuple[bytes, int, bytes]
_setters: dict[tuple[int, int], dict[str, _Setter]] = {}


def _instructions(edit: Transposition, key: FlowKey, proto: int, outbound: bool, fin: bool) -> bytes:
    """Return the instructions that edit and go on; fields that the key does not have are passed over."""
    setters = _setters.get((key[0], proto)) or _remember_setters(key, proto)
    parts = [b"", _FIN if fin else b""]
    length = 8 + len(parts[1])
    for name, value in edit.edits:
        setter = setters.get(name)
        if setter is not None:
            before, width, after = setter
            parts += before, value.to_bytes(width, "big"), after
            length += len(before) + width + len(after)
    if length > 8:
        parts[0] = _APPLY.pack(wire.APPLY_ACTIONS, length)
    parts.append(_GOTO["deliver" if outbound else "closing"])
    return b"".join(parts)


def _remember_setters(key: FlowKey, proto: int) -> dict[str, _Setter]:
    """Return what stands before and after the value of each field that packets of one family and protocol have."""
    every = transposition(dict.fromkeys(SETTABLE, 0))
    made: dict[str, _Setter] = {}
    for (name, _), action in zip(every.on(key), edit_actions(every, key), strict=True):
        encoded, width = wire.set_field(action.field, 0), wire.OXM[action.field] & 0xFF
        made[name] = encoded[:8], width, encoded[8 + width :]
    _setters[key[0], proto] = made
    return made


def match_and_instructions(made: CachedEntry) -> tuple[bytes, bytes]:
    """Return a cached entry's match, without its header and padding, and its instructions."""
    message = add(made)
    length = int.from_bytes(message[50:52], "big")
    return message[52 : 48 + length], message[48 + (length + 7) // 8 * 8 :]

"""Which packets an entry that a switch reported is for: the inverse of the template's match."""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any, Final, NamedTuple

from ryu_apps.model.fields import FIELDS
from ryu_apps.model.flow_key import (
    CUSTOMER_TAG,
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    KEY_BYTES,
    ND_TYPES,
    PROTO_ICMPV6,
    Family,
    FlowKey,
)
from ryu_apps.model.rules import Direction
from ryu_apps.pipeline.cached import match_of
from ryu_apps.pipeline.editing import PORT_FIELDS
from ryu_apps.pipeline.registers import RECEIVER, SEGMENT, SENDER
from ryu_apps.southbound.layout import layout, match_format
from ryu_apps.southbound.wire import OXM


class CachedMatch(NamedTuple):
    """What the match of a cached entry says."""

    segment: int
    vport: int
    direction: Direction
    key: FlowKey
    exact_dscp: bool


_NAMES: Final = {header: name for name, header in OXM.items()}
_L4: Final = {name: ("l4_src", "l4_dst")[place] for pair in PORT_FIELDS.values() for place, name in enumerate(pair)}


_NOTHING: Final[dict[Any, Any]] = {}


def key_of_match(match: bytes) -> CachedMatch | None:
    """Return what a match stands for; None unless it is exactly the match of a cached entry."""
    for unpack, readings in _learnt.get(len(match), _NOTHING).values():
        parts = unpack(match)
        reading = readings.get(parts[::2])
        if reading is not None:
            family, middle, pad, direction, exact_dscp = reading
            _, src, _, dst, _, third, _, fourth, _, fifth, _, sixth, _, segment, _, vport = parts
            bits = int.from_bytes(b"".join((dst, src, middle, third, fourth, pad, fifth, pad, sixth)), "big")
            return _new(CachedMatch, (segment, vport, direction, _new(FlowKey, (family, bits)), exact_dscp))
    found = read(match)
    if found is not None:
        _learn(match, found)
    return found


_new = tuple.__new__
# Family; what stands in a key between the MACs and the addresses, and before each transport field; the rest.
_Reading = tuple[Family, bytes, bytes, Direction, bool]
_Unpack = Callable[[bytes], tuple[Any, ...]]
_learnt: dict[int, dict[str, tuple[_Unpack, dict[tuple[bytes, ...], _Reading]]]] = {}


def _learn(match: bytes, found: CachedMatch) -> None:
    """Keep how to read all IP matches that differ from this one in values only.

    ICMPv6 is left out: there the type, a value, decides whether the key is one of neighbour discovery.
    """
    family, bits = found.key
    key = bits.to_bytes(KEY_BYTES[family], "big")
    if family is Family.LINK or key[16] == PROTO_ICMPV6:
        return
    made = layout(family, key[16], key[17] if found.exact_dscp else None)
    form = "!" + match_format(made)
    unpack, readings = _learnt.setdefault(len(match), {}).setdefault(form, (Struct(form).unpack, {}))
    pad = bytes(2 - made.widths[3])
    readings[unpack(match)[::2]] = family, key[12:18], pad, found.direction, found.exact_dscp


def read(match: bytes) -> CachedMatch | None:
    """Return what a match stands for, field by field: the plain twin of `key_of_match`."""
    fields = fields_of(match)
    if fields is None:
        return None
    segment, sender, receiver = (fields.pop(name, None) for name in (SEGMENT, SENDER, RECEIVER))
    vport = sender if receiver is None else receiver
    if segment is None or vport is None or (sender is not None and receiver is not None):
        return None
    key = key_of_fields(fields)
    exact_dscp = "ip_dscp" in fields
    if key is None or match_of(key, exact_dscp=exact_dscp) != fields:
        return None
    return CachedMatch(segment, vport, Direction.OUTBOUND if receiver is None else Direction.INBOUND, key, exact_dscp)


def fields_of(match: bytes) -> dict[str, int] | None:
    """Return the exact fields of a match by name; None when there is one that no entry of ours has, or one twice."""
    found: dict[str, int] = {}
    at, end = 0, len(match)
    while at < end:
        name = _NAMES.get(int.from_bytes(match[at : at + 4], "big"))
        if end - at < 4 or name is None or name in found:
            return None
        after = at + 4 + match[at + 3]
        if after > end:
            return None
        found[name] = int.from_bytes(match[at + 4 : after], "big")
        at = after
    return found


def key_of_fields(fields: dict[str, int]) -> FlowKey | None:
    """Return the key whose fields these are; None when a field does not exist in its family."""
    family = _FAMILIES.get(fields.get("eth_type", ETH_ARP), Family.LINK)
    if family is None or fields.get("icmpv6_type") in ND_TYPES:
        return None
    bits = 0
    for name, value in fields.items():
        field = FIELDS.get(_L4.get(name, name))
        if field is None or family not in field.shifts:
            return None
        if name == "vlan_vid" and value:
            value |= CUSTOMER_TAG
        bits |= value << field.shifts[family]
    return FlowKey(family, bits)


# ARP and neighbour discovery pass by the caches.
_FAMILIES: Final = {ETH_IPV4: Family.IPV4, ETH_IPV6: Family.IPV6, ETH_ARP: None}

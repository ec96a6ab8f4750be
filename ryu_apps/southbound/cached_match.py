"""Which packets an entry that a switch reported is for: the inverse of the template's match."""

from __future__ import annotations

from typing import Final, NamedTuple

from ryu_apps.model.fields import FIELDS
from ryu_apps.model.flow_key import ETH_IPV4, ETH_IPV6, Family, FlowKey
from ryu_apps.model.rules import Direction
from ryu_apps.pipeline.cached import PORT_FIELDS, match_of
from ryu_apps.pipeline.registers import RECEIVER, SEGMENT, SENDER
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


def key_of_match(match: bytes) -> CachedMatch | None:
    """Return what a match stands for; None unless it is exactly the match of a cached entry."""
    fields = _fields(match)
    if fields is None:
        return None
    segment, sender, receiver = (fields.pop(name, None) for name in (SEGMENT, SENDER, RECEIVER))
    vport = sender if receiver is None else receiver
    if segment is None or vport is None or (sender is not None and receiver is not None):
        return None
    key = _key(fields)
    exact_dscp = "ip_dscp" in fields
    if key is None or match_of(key, exact_dscp=exact_dscp) != fields:
        return None
    return CachedMatch(segment, vport, Direction.OUTBOUND if receiver is None else Direction.INBOUND, key, exact_dscp)


def _fields(match: bytes) -> dict[str, int] | None:
    """Return the fields of a match by name; None when there is one that no cached entry has, or one twice."""
    found: dict[str, int] = {}
    at, end = 0, len(match)
    while at < end:
        name = _NAMES.get(int.from_bytes(match[at : at + 4], "big"))
        if name is None or name in found:
            return None
        after = at + 4 + match[at + 3]
        if after > end:
            return None
        found[name] = int.from_bytes(match[at + 4 : after], "big")
        at = after
    return found


def _key(fields: dict[str, int]) -> FlowKey | None:
    """Return the key whose fields these are; None when a field does not exist in its family."""
    family = {ETH_IPV4: Family.IPV4, ETH_IPV6: Family.IPV6}.get(fields.get("eth_type", 0), Family.LINK)
    bits = 0
    for name, value in fields.items():
        field = FIELDS[_L4.get(name, name)]
        if family not in field.shifts:
            return None
        bits |= value << field.shifts[family]
    return FlowKey(family, bits)

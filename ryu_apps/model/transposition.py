"""The transposition: the composed header edit that all layers together make of a packet (US 8,930,690)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ryu_apps.model.fields import FIELDS
from ryu_apps.model.flow_key import PROTOS_WITH_PORTS, FlowKey


@dataclass(frozen=True, slots=True)
class Transposition:
    """Header fields and the values that they get, sorted by name; empty leaves a packet as it is."""

    edits: tuple[tuple[str, int], ...] = ()

    def then(self, later: Transposition) -> Transposition:
        """Return the one edit that equals this one followed by the later one.

        Law: a.then(b).apply(k) == b.apply(a.apply(k)).
        """
        if not later.edits:
            return self
        return Transposition(tuple(sorted({**dict(self.edits), **dict(later.edits)}.items())))

    def on(self, key: FlowKey) -> tuple[tuple[str, int], ...]:
        """Return the edits that apply to a packet with this key: fields it has."""
        return tuple((name, value) for name, value in self.edits if _has(key, name))

    def apply(self, key: FlowKey) -> FlowKey:
        """Return the key after the edit; fields that the packet does not have are passed over."""
        if not self.edits:
            return key
        bits = key.bits
        for name, value in self.on(key):
            field = FIELDS[name]
            shift = field.shifts[key.family]
            bits = bits & ~(field.full << shift) | value << shift
        return FlowKey(key.family, bits)


IDENTITY: Final = Transposition()


def transposition(edits: Mapping[str, int]) -> Transposition:
    """Return the transposition that sets these fields."""
    return Transposition(tuple(sorted(edits.items()))) if edits else IDENTITY


def _has(key: FlowKey, name: str) -> bool:
    if key.family not in FIELDS[name].shifts:
        return False
    if name in ("l4_src", "l4_dst"):
        return FIELDS["ip_proto"].get(key) in PROTOS_WITH_PORTS
    return True


def difference(before: FlowKey, after: FlowKey) -> Transposition:
    """Return the transposition that turns one key into another of the same family, over settable fields."""
    return transposition(
        {
            name: field.get(after)
            for name, field in FIELDS.items()
            if field.settable and after.family in field.shifts and field.get(before) != field.get(after)
        }
    )

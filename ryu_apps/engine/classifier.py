"""Best-match look-up in one group, at a cost that grows with mask shapes and not with rules.

Tuple space search (Srinivasan, Suri, Varghese, SIGCOMM 1999): rules of one mask shape share one hash table.
A port range is not cut into prefixes, which would multiply shapes.
Rules that differ only in one port's range share one place in the table, and there the 65,536 ports are painted with the
best rule for each, so that any number of ranges costs one binary search.
Only rules with ranges of both ports and all else equal are looked through one by one.
Of the shapes only those are looked at that have a rule for the packet's protocol and the first bytes of its addresses:
real rule sets have hundreds of shapes, and few of them for one packet.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from ryu_apps.engine.ruling import Ruling, ruling_of
from ryu_apps.model.action import Meter, Mirror, Prioritise, Reroute
from ryu_apps.model.flow_key import Family
from ryu_apps.model.match import FULL_RANGE, Condition
from ryu_apps.model.rules import Group, Rule
from ryu_apps.model.turns import Pause, in_turns, no_pause

# Where the protocol and the first byte of each address of an IPv4 key stand: shapes that have no rule for a packet's
# need not be looked at. In keys of other families these are some other bytes, which are as good for leaving shapes out.
PROBED_SHIFTS: Final = (104, 88, 56)
_PROBED_MASK: Final = sum(0xFF << shift for shift in PROBED_SHIFTS)
# For how many values of these bytes the shapes are remembered; a VM chooses what packets it sends.
_MOST_PROBES: Final = 4096

# Precedence first, so that entries compare as rules do: negated priority, rule id; then the ruling and port ranges.
Entry = tuple[int, str, Ruling, tuple[int, int], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Place:
    """The rules of one mask shape and one masked value, best first.

    bounds, best: where a port is what tells them apart, the first port of each stretch and the best rule there.
    """

    entries: tuple[Entry, ...]
    bounds: tuple[int, ...] = ()
    best: tuple[Entry | None, ...] = ()


def _painted(entries: tuple[Entry, ...], ranges: Sequence[tuple[int, int]]) -> Place:
    """Return the place of rules, best first, that differ in the range of one port."""
    bounds = sorted({0} | {bound for low, high in ranges for bound in (low, high + 1)})
    index = {bound: position for position, bound in enumerate(bounds)}
    best: list[Entry | None] = [None] * len(bounds)
    # The next stretch that is not painted yet, at or behind each; painted ones point on, and paths are halved.
    following = list(range(len(bounds) + 1))
    for entry, (low, high) in zip(entries, ranges, strict=True):
        end, at = index[high + 1], _free(following, index[low])
        while at < end:
            best[at] = entry
            following[at] = at + 1
            at = _free(following, at)
    return Place(entries, tuple(bounds), tuple(best))


def _free(following: list[int], at: int) -> int:
    while following[at] != at:
        following[at] = following[following[at]]
        at = following[at]
    return at


@dataclass(frozen=True, slots=True)
class Shape:
    """All rules of one mask shape: a hash table from masked key to their place."""

    mask: int
    src_ranged: bool
    dst_ranged: bool
    best: int
    table: Mapping[int, Place]
    probed: tuple[frozenset[int] | None, ...]
    """What rules of this shape have in each of the probed bytes (see `PROBED_SHIFTS`); None for anything."""

    def best_in(self, place: Place, bits: int) -> Entry | None:
        """Return the best rule of a place of this shape that matches the key bits, whose masked value led there."""
        if self.src_ranged and self.dst_ranged:
            return _first(place.entries, bits >> 16 & 0xFFFF, bits & 0xFFFF)
        if self.src_ranged:
            return place.best[bisect_right(place.bounds, bits >> 16 & 0xFFFF) - 1]
        if self.dst_ranged:
            return place.best[bisect_right(place.bounds, bits & 0xFFFF) - 1]
        return place.entries[0]


def _first(entries: Iterable[Entry], source: int, target: int) -> Entry | None:
    for entry in entries:
        if entry[3][0] <= source <= entry[3][1] and entry[4][0] <= target <= entry[4][1]:
            return entry
    return None


ShapeId = tuple[int, bool, bool]


def shape_id_of(condition: Condition) -> ShapeId:
    """Return which shape a condition is of."""
    return condition.mask, condition.l4_src != FULL_RANGE, condition.l4_dst != FULL_RANGE


def make_place(shape_id: ShapeId, entries: Iterable[Entry]) -> Place:
    """Return the place of rules, one or more, of one shape and value."""
    ordered = tuple(sorted(entries, key=_precedence))
    _, src_ranged, dst_ranged = shape_id
    if src_ranged is dst_ranged:
        return Place(ordered)
    return _painted(ordered, [entry[3] if src_ranged else entry[4] for entry in ordered])


def _chosen(shapes: Sequence[Shape], bits: int) -> Iterator[Shape]:
    """Yield the shapes whose bits are set, in order."""
    while bits:
        lowest = bits & -bits
        yield shapes[lowest.bit_length() - 1]
        bits ^= lowest


_Probe = tuple[int, int, Callable[[int], Place | None], Shape]


@dataclass(frozen=True, slots=True)
class FamilyClassifier:
    """The rules of one group that can match one family: shapes by their best precedence."""

    shapes: tuple[Shape, ...] = ()
    # By the probed bytes of a packet, what the loop needs of each shape that can match it, side by side.
    _probes: dict[int, tuple[_Probe, ...]] = field(default_factory=dict, compare=False)
    # By place and value of one probed byte, the shapes that can match: bit n is shape n.
    _able: dict[tuple[int, int], int] = field(default_factory=dict, compare=False)

    def _probes_of(self, bits: int) -> tuple[_Probe, ...]:
        """Return the shapes that can match a packet, and remember them for packets with the same probed bytes."""
        able = -1
        for place, shift in enumerate(PROBED_SHIFTS):
            byte = place, bits >> shift & 0xFF
            found = self._able.get(byte)
            able &= self._able_at(*byte) if found is None else found
        if len(self._probes) >= _MOST_PROBES:
            self._probes.clear()
        probes = self._probes[bits & _PROBED_MASK] = tuple([
            (shape.best, shape.mask, shape.table.get, shape) for shape in _chosen(self.shapes, able)
        ])
        return probes

    def _able_at(self, place: int, value: int) -> int:
        able = 0
        for number, shape in enumerate(self.shapes):
            known = shape.probed[place]
            if known is None or value in known:
                able |= 1 << number
        self._able[place, value] = able
        return able

    def find(self, bits: int) -> Ruling | None:
        """Return the ruling of the best rule that matches the key bits, None when none does."""
        best: Entry | None = None
        probes = self._probes.get(bits & _PROBED_MASK)
        if probes is None:
            probes = self._probes_of(bits)
        for precedence, mask, place_of, shape in probes:
            if best is not None and best[0] < precedence:
                break
            place = place_of(bits & mask)
            if place is not None:
                found = shape.best_in(place, bits)
                if found is not None and (best is None or found[:2] < best[:2]):
                    best = found
        return None if best is None else best[2]


@dataclass(frozen=True, slots=True)
class GroupClassifier:
    """The compiled form of one group."""

    families: Mapping[Family, FamilyClassifier]
    uses_dscp: bool
    metered: frozenset[str] = frozenset()
    """The ids of the rules that meters of the switch depend on: those that meter, and those that give a priority."""
    names_vports: bool = False
    """Some rule copies or sends packets to a vport."""

    def relevant(self, family: Family) -> int:
        """Return the key bits of a family that any rule looks at."""
        mask = 0
        for shape in self.families[family].shapes if family in self.families else ():
            mask |= shape.mask | (0xFFFF0000 if shape.src_ranged else 0) | (0xFFFF if shape.dst_ranged else 0)
        return mask

    def find(self, family: Family, bits: int) -> Ruling | None:
        """Return the ruling of the best matching rule, None when no rule of the group matches."""
        classifier = self.families.get(family)
        return None if classifier is None else classifier.find(bits)


def classify(group: Group, pause: Pause = no_pause) -> GroupClassifier:
    """Return the compiled form of all rules of a group."""
    conditions: dict[Family, list[tuple[Condition, Entry]]] = {}
    for rule in in_turns(group.rules.values(), pause):
        ruling = ruling_of(group.layer, group.id, rule)
        for family, condition in rule.match.conditions:
            conditions.setdefault(family, []).append((condition, make_entry(rule, ruling, condition)))
    families = {family: _build(found) for family, found in conditions.items()}
    uses_dscp = any(rule.match.uses("ip_dscp") for rule in group.rules.values())
    metered = frozenset(rule.id for rule in group.rules.values() if isinstance(rule.action, Meter | Prioritise))
    names_vports = any(isinstance(rule.action, Mirror | Reroute) for rule in group.rules.values())
    return GroupClassifier(MappingProxyType(families), uses_dscp, metered, names_vports)


def make_entry(rule: Rule, ruling: Ruling, condition: Condition) -> Entry:
    """Return a rule at the place of one of its conditions."""
    return -rule.priority, rule.id, ruling, condition.l4_src, condition.l4_dst


def _build(conditions: Iterable[tuple[Condition, Entry]]) -> FamilyClassifier:
    tables: dict[ShapeId, dict[int, list[Entry]]] = {}
    for condition, entry in conditions:
        tables.setdefault(shape_id_of(condition), {}).setdefault(condition.value, []).append(entry)
    return FamilyClassifier(
        by_best(
            make_shape(shape_id, {value: make_place(shape_id, entries) for value, entries in table.items()})
            for shape_id, table in tables.items()
        )
    )


def _precedence(entry: Entry) -> tuple[int, str]:
    return entry[:2]


def make_shape(shape_id: ShapeId, table: dict[int, Place]) -> Shape:
    """Return the shape of places, one or more."""
    probed = tuple(
        frozenset(value >> shift & 0xFF for value in table) if shape_id[0] >> shift & 0xFF == 0xFF else None
        for shift in PROBED_SHIFTS
    )
    return Shape(*shape_id, min(place.entries[0][0] for place in table.values()), table, probed)


def by_best(shapes: Iterable[Shape]) -> tuple[Shape, ...]:
    """Return shapes in the order in which they are looked at."""
    return tuple(sorted(shapes, key=lambda shape: shape.best))

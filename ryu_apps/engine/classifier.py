"""Best-match look-up in one group, at a cost that grows with mask shapes and not with rules.

Tuple space search (Srinivasan, Suri, Varghese, SIGCOMM 1999): rules of one mask shape share one hash table.
A port range is not cut into prefixes, which would multiply shapes; it stands in the hash key as a number,
and a packet is looked up once for each range of the group that holds its port.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from ryu_apps.engine.ruling import Ruling, ruling_of
from ryu_apps.model.flow_key import Family
from ryu_apps.model.match import FULL_RANGE, Condition
from ryu_apps.model.rules import Group, Rule

Range = tuple[int, int]
# Precedence first, so that entries compare as rules do: negated priority, rule id, ruling.
Entry = tuple[int, str, Ruling]
TableKey = int | tuple[int, Range | None, Range | None]


@dataclass(frozen=True, slots=True)
class Ranges:
    """The distinct ranges of one port field in one group, indexed by port."""

    ranges: frozenset[Range] = frozenset()
    bounds: tuple[int, ...] = ()
    holding: tuple[tuple[Range, ...], ...] = ((),)

    def at(self, port: int) -> tuple[Range, ...]:
        """Return the ranges that hold the port."""
        return self.holding[bisect_right(self.bounds, port)]


def _index_ranges(ranges: frozenset[Range]) -> Ranges:
    bounds = tuple(sorted({low for low, _ in ranges} | {high + 1 for _, high in ranges}))
    starts = (-1, *bounds)
    holding = tuple(tuple(sorted(r for r in ranges if r[0] <= start <= r[1])) for start in starts)
    return Ranges(ranges, bounds, holding)


@dataclass(frozen=True, slots=True)
class Shape:
    """All rules of one mask shape: a hash table from masked key to the rules there, best first."""

    mask: int
    src_ranged: bool
    dst_ranged: bool
    best: int
    table: Mapping[TableKey, tuple[Entry, ...]]


ShapeId = tuple[int, bool, bool]


def _shape_id(condition: Condition) -> ShapeId:
    return condition.mask, condition.l4_src != FULL_RANGE, condition.l4_dst != FULL_RANGE


def _table_key(condition: Condition) -> TableKey:
    _, src_ranged, dst_ranged = _shape_id(condition)
    if not src_ranged and not dst_ranged:
        return condition.value
    return condition.value, condition.l4_src if src_ranged else None, condition.l4_dst if dst_ranged else None


@dataclass(frozen=True, slots=True)
class FamilyClassifier:
    """The rules of one group that can match one family: shapes by best precedence, and the port ranges in use."""

    shapes: tuple[Shape, ...] = ()
    src_ranges: Ranges = Ranges()
    dst_ranges: Ranges = Ranges()

    def find(self, bits: int) -> Ruling | None:
        """Return the ruling of the best rule that matches the key bits, None when none does."""
        best: Entry | None = None
        for shape in self.shapes:
            if best is not None and best[0] < shape.best:
                break
            if shape.src_ranged or shape.dst_ranged:
                found = self._find_ranged(shape, bits)
            else:
                entries = shape.table.get(bits & shape.mask)
                found = entries[0] if entries else None
            if found is not None and (best is None or found[:2] < best[:2]):
                best = found
        return None if best is None else best[2]

    def _find_ranged(self, shape: Shape, bits: int) -> Entry | None:
        masked = bits & shape.mask
        best: Entry | None = None
        for src in self.src_ranges.at(bits >> 16 & 0xFFFF) if shape.src_ranged else (None,):
            for dst in self.dst_ranges.at(bits & 0xFFFF) if shape.dst_ranged else (None,):
                entries = shape.table.get((masked, src, dst))
                if entries and (best is None or entries[0][:2] < best[:2]):
                    best = entries[0]
        return best


@dataclass(frozen=True, slots=True)
class GroupClassifier:
    """The compiled form of one group."""

    families: Mapping[Family, FamilyClassifier]
    uses_dscp: bool

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


def classify(group: Group) -> GroupClassifier:
    """Return the compiled form of all rules of a group."""
    rulings = [(rule, ruling_of(group.layer, group.id, rule)) for rule in group.rules.values()]
    families = {}
    for family in Family:
        conditions = [
            (condition, (-rule.priority, rule.id, ruling))
            for rule, ruling in rulings
            for named, condition in rule.match.conditions
            if named is family
        ]
        if conditions:
            families[family] = _build(conditions)
    return GroupClassifier(MappingProxyType(families), any(rule.match.uses("ip_dscp") for rule, _ in rulings))


def _build(conditions: Iterable[tuple[Condition, Entry]]) -> FamilyClassifier:
    tables: dict[ShapeId, dict[TableKey, list[Entry]]] = {}
    src: set[Range] = set()
    dst: set[Range] = set()
    for condition, entry in conditions:
        tables.setdefault(_shape_id(condition), {}).setdefault(_table_key(condition), []).append(entry)
        if condition.l4_src != FULL_RANGE:
            src.add(condition.l4_src)
        if condition.l4_dst != FULL_RANGE:
            dst.add(condition.l4_dst)
    shapes = [
        _shape(shape_id, {key: tuple(sorted(entries, key=_precedence)) for key, entries in table.items()})
        for shape_id, table in tables.items()
    ]
    return FamilyClassifier(_by_best(shapes), _index_ranges(frozenset(src)), _index_ranges(frozenset(dst)))


def _precedence(entry: Entry) -> tuple[int, str]:
    return entry[:2]


def _shape(shape_id: ShapeId, table: dict[TableKey, tuple[Entry, ...]]) -> Shape:
    return Shape(*shape_id, min(entries[0][0] for entries in table.values()), table)


def _by_best(shapes: Iterable[Shape]) -> tuple[Shape, ...]:
    return tuple(sorted(shapes, key=lambda shape: shape.best))


def reclassify(before: GroupClassifier, group: Group, old: Rule | None, new: Rule | None) -> GroupClassifier:
    """Return the compiled form after one rule was put or deleted; only the shapes that it touches are made anew."""
    families = dict(before.families)
    for family, condition in old.match.conditions if old else ():
        families[family] = _without(families[family], condition, old.id if old else "")
    ruling = ruling_of(group.layer, group.id, new) if new else None
    for family, condition in new.match.conditions if new else ():
        if ruling and new:
            entry = (-new.priority, new.id, ruling)
            families[family] = _with(families.get(family, FamilyClassifier()), condition, entry)
    kept = {family: classifier for family, classifier in families.items() if classifier.shapes}
    # A dropped last use of DSCP only leaves entries narrower than they need be, until the group is put as a whole.
    uses_dscp = before.uses_dscp or bool(new and new.match.uses("ip_dscp"))
    return GroupClassifier(MappingProxyType(kept), uses_dscp)


def _with(classifier: FamilyClassifier, condition: Condition, entry: Entry) -> FamilyClassifier:
    shape_id, key = _shape_id(condition), _table_key(condition)
    table = _table_of(classifier, shape_id)
    table[key] = tuple(sorted((*table.get(key, ()), entry), key=_precedence))
    classifier = _with_shape(classifier, shape_id, table)
    if shape_id[1] and condition.l4_src not in classifier.src_ranges.ranges:
        classifier = replace(classifier, src_ranges=_index_ranges(classifier.src_ranges.ranges | {condition.l4_src}))
    if shape_id[2] and condition.l4_dst not in classifier.dst_ranges.ranges:
        classifier = replace(classifier, dst_ranges=_index_ranges(classifier.dst_ranges.ranges | {condition.l4_dst}))
    return classifier


def _without(classifier: FamilyClassifier, condition: Condition, rule_id: str) -> FamilyClassifier:
    # A range that nothing uses any more stays in the index: it costs a look-up that finds nothing, never an answer.
    shape_id, key = _shape_id(condition), _table_key(condition)
    table = _table_of(classifier, shape_id)
    left = tuple(entry for entry in table[key] if entry[1] != rule_id)
    if left:
        table[key] = left
    else:
        del table[key]
    return _with_shape(classifier, shape_id, table)


def _table_of(classifier: FamilyClassifier, shape_id: ShapeId) -> dict[TableKey, tuple[Entry, ...]]:
    for shape in classifier.shapes:
        if (shape.mask, shape.src_ranged, shape.dst_ranged) == shape_id:
            return dict(shape.table)
    return {}


def _with_shape(
    classifier: FamilyClassifier, shape_id: ShapeId, table: dict[TableKey, tuple[Entry, ...]]
) -> FamilyClassifier:
    others = [s for s in classifier.shapes if (s.mask, s.src_ranged, s.dst_ranged) != shape_id]
    if table:
        others.append(_shape(shape_id, table))
    return replace(classifier, shapes=_by_best(others))

"""Best-match look-up in one group, at a cost that grows with mask shapes and not with rules.

Tuple space search (Srinivasan, Suri, Varghese, SIGCOMM 1999): rules of one mask shape share one hash table.
A port range is not cut into prefixes, which would multiply shapes.
Rules that differ only in one port's range share one place in the table, and there the 65,536 ports are painted with the
best rule for each, so that any number of ranges costs one binary search.
Only rules with ranges of both ports and all else equal are looked through one by one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from ryu_apps.engine.ruling import Ruling, ruling_of
from ryu_apps.model.action import Meter
from ryu_apps.model.flow_key import Family
from ryu_apps.model.match import FULL_RANGE, Condition
from ryu_apps.model.rules import Group, Rule

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

    def find(self, bits: int) -> Entry | None:
        """Return the best rule of this shape that matches the key bits."""
        place = self.table.get(bits & self.mask)
        if place is None:
            return None
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


def _shape_id(condition: Condition) -> ShapeId:
    return condition.mask, condition.l4_src != FULL_RANGE, condition.l4_dst != FULL_RANGE


def _place(shape_id: ShapeId, entries: Iterable[Entry]) -> Place:
    ordered = tuple(sorted(entries, key=_precedence))
    _, src_ranged, dst_ranged = shape_id
    if src_ranged is dst_ranged:
        return Place(ordered)
    return _painted(ordered, [entry[3] if src_ranged else entry[4] for entry in ordered])


@dataclass(frozen=True, slots=True)
class FamilyClassifier:
    """The rules of one group that can match one family: shapes by their best precedence."""

    shapes: tuple[Shape, ...] = ()

    def find(self, bits: int) -> Ruling | None:
        """Return the ruling of the best rule that matches the key bits, None when none does."""
        best: Entry | None = None
        for shape in self.shapes:
            if best is not None and best[0] < shape.best:
                break
            found = shape.find(bits)
            if found is not None and (best is None or found[:2] < best[:2]):
                best = found
        return None if best is None else best[2]


@dataclass(frozen=True, slots=True)
class GroupClassifier:
    """The compiled form of one group."""

    families: Mapping[Family, FamilyClassifier]
    uses_dscp: bool
    metered: frozenset[str] = frozenset()
    """The ids of the rules that meter."""

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
    conditions: dict[Family, list[tuple[Condition, Entry]]] = {}
    for rule in group.rules.values():
        ruling = ruling_of(group.layer, group.id, rule)
        for family, condition in rule.match.conditions:
            conditions.setdefault(family, []).append((condition, _entry(rule, ruling, condition)))
    families = {family: _build(found) for family, found in conditions.items()}
    uses_dscp = any(rule.match.uses("ip_dscp") for rule in group.rules.values())
    metered = frozenset(rule.id for rule in group.rules.values() if isinstance(rule.action, Meter))
    return GroupClassifier(MappingProxyType(families), uses_dscp, metered)


def _entry(rule: Rule, ruling: Ruling, condition: Condition) -> Entry:
    return -rule.priority, rule.id, ruling, condition.l4_src, condition.l4_dst


def _build(conditions: Iterable[tuple[Condition, Entry]]) -> FamilyClassifier:
    tables: dict[ShapeId, dict[int, list[Entry]]] = {}
    for condition, entry in conditions:
        tables.setdefault(_shape_id(condition), {}).setdefault(condition.value, []).append(entry)
    return FamilyClassifier(
        _by_best(
            _shape(shape_id, {value: _place(shape_id, entries) for value, entries in table.items()})
            for shape_id, table in tables.items()
        )
    )


def _precedence(entry: Entry) -> tuple[int, str]:
    return entry[:2]


def _shape(shape_id: ShapeId, table: dict[int, Place]) -> Shape:
    return Shape(*shape_id, min(place.entries[0][0] for place in table.values()), table)


def _by_best(shapes: Iterable[Shape]) -> tuple[Shape, ...]:
    return tuple(sorted(shapes, key=lambda shape: shape.best))


def reclassify(before: GroupClassifier, group: Group, old: Rule | None, new: Rule | None) -> GroupClassifier:
    """Return the compiled form after one rule was put or deleted; only the places that it touches are made anew."""
    families = dict(before.families)
    for family, condition in old.match.conditions if old else ():
        families[family] = _changed(families[family], condition, old.id if old else None, None)
    ruling = ruling_of(group.layer, group.id, new) if new else None
    for family, condition in new.match.conditions if new else ():
        if ruling and new:
            entry = _entry(new, ruling, condition)
            families[family] = _changed(families.get(family, FamilyClassifier()), condition, None, entry)
    kept = {family: classifier for family, classifier in families.items() if classifier.shapes}
    # A dropped last use of DSCP only leaves entries narrower than they need be, until the group is put as a whole.
    uses_dscp = before.uses_dscp or bool(new and new.match.uses("ip_dscp"))
    metered = before.metered - ({old.id} if old else set())
    metered |= {new.id} if new and isinstance(new.action, Meter) else set()
    return GroupClassifier(MappingProxyType(kept), uses_dscp, metered)


def _changed(
    classifier: FamilyClassifier, condition: Condition, gone: str | None, come: Entry | None
) -> FamilyClassifier:
    """Return a classifier with one rule less or one more at a condition's place."""
    shape_id, others, table = _shape_id(condition), [], {}
    for shape in classifier.shapes:
        if (shape.mask, shape.src_ranged, shape.dst_ranged) == shape_id:
            table = dict(shape.table)
        else:
            others.append(shape)
    known = table[condition.value].entries if condition.value in table else ()
    entries = [entry for entry in known if entry[1] != gone] + ([come] if come else [])
    if entries:
        table[condition.value] = _place(shape_id, entries)
    else:
        table.pop(condition.value, None)
    if table:
        others.append(_shape(shape_id, table))
    return FamilyClassifier(_by_best(others))

"""The compiled form of a group after one rule was put or deleted, made from that before.

A table in which a place changes is copied. So that this costs little in a large group, new places gather in a small
shape beside the large one of the same mask, and go into that when there are many of them.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from ryu_apps.engine.classifier import (
    PROBED_SHIFTS,
    Entry,
    FamilyClassifier,
    GroupClassifier,
    Place,
    Shape,
    ShapeId,
    by_best,
    make_entry,
    make_place,
    make_shape,
    shape_id_of,
)
from ryu_apps.engine.ruling import ruling_of
from ryu_apps.model.action import Meter, Mirror, Prioritise, Reroute
from ryu_apps.model.match import Condition
from ryu_apps.model.rules import Group, Rule

# So many places are copied for a new one at most.
MANY_PLACES: Final = 64


def reclassify(before: GroupClassifier, group: Group, old: Rule | None, new: Rule | None) -> GroupClassifier:
    """Return the compiled form after one rule was put or deleted; only the places that it touches are made anew."""
    families = dict(before.families)
    for family, condition in old.match.conditions if old else ():
        families[family] = _changed(families[family], condition, old.id if old else None, None)
    ruling = ruling_of(group.layer, group.id, new) if new else None
    for family, condition in new.match.conditions if new else ():
        if ruling and new:
            entry = make_entry(new, ruling, condition)
            families[family] = _changed(families.get(family, FamilyClassifier()), condition, None, entry)
    kept = {family: classifier for family, classifier in families.items() if classifier.shapes}
    # A dropped last use of DSCP only leaves entries narrower than they need be, until the group is put as a whole.
    uses_dscp = before.uses_dscp or bool(new and new.match.uses("ip_dscp"))
    metered = before.metered - ({old.id} if old else set())
    metered |= {new.id} if new and isinstance(new.action, Meter | Prioritise) else set()
    names_vports = before.names_vports or bool(new and isinstance(new.action, Mirror | Reroute))
    return GroupClassifier(MappingProxyType(kept), uses_dscp, metered, names_vports)


def _changed(
    classifier: FamilyClassifier, condition: Condition, gone: str | None, come: Entry | None
) -> FamilyClassifier:
    """Return a classifier with one rule less or one more at a condition's place."""
    shape_id, value = shape_id_of(condition), condition.value
    alike = [shape for shape in classifier.shapes if _id_of(shape) == shape_id]
    others = [shape for shape in classifier.shapes if _id_of(shape) != shape_id]
    holding = next((shape for shape in alike if value in shape.table), None)
    if holding is not None:
        entries = [entry for entry in holding.table[value].entries if entry[1] != gone] + ([come] if come else [])
        others += [shape for shape in alike if shape is not holding]
        if entries:
            others.append(_with_place(holding, value, make_place(shape_id, entries)))
        elif len(holding.table) > 1:
            others.append(_without_place(holding, value))
    elif come is not None:
        others += _with_new(alike, shape_id, value, make_place(shape_id, [come]))
    else:
        return classifier
    return FamilyClassifier(by_best(others))


def _with_new(alike: list[Shape], shape_id: ShapeId, value: int, place: Place) -> list[Shape]:
    """Return the shapes of one mask, two at most, with a place that none of them has."""
    if not alike:
        return [make_shape(shape_id, {value: place})]
    small, *large = sorted(alike, key=lambda shape: len(shape.table))
    if len(small.table) < MANY_PLACES:
        return [_with_place(small, value, place), *large]
    return [make_shape(shape_id, {value: place}), _joined([small, *large])]


def _joined(shapes: list[Shape]) -> Shape:
    """Return shapes of one mask as one, what they have for the probed bytes as wide as it was."""
    first, *others = shapes
    probed, table = first.probed, dict(first.table)
    for other in others:
        table |= other.table
        probed = tuple(
            None if here is None or there is None else here | there
            for here, there in zip(probed, other.probed, strict=True)
        )
    return Shape(*_id_of(first), min(shape.best for shape in shapes), table, probed)


def _with_place(shape: Shape, value: int, place: Place) -> Shape:
    """Return a shape with one more place, or another in the stead of one; nothing else of it is looked at.

    What it has for the probed bytes may stay too wide, and its best precedence too good, by what was there before:
    then it is looked at where it need not be, until the group is put as a whole.
    """
    probed = tuple(
        known if known is None or value >> shift & 0xFF in known else known | {value >> shift & 0xFF}
        for known, shift in zip(shape.probed, PROBED_SHIFTS, strict=True)
    )
    table = {**shape.table, value: place}
    return Shape(*_id_of(shape), min(shape.best, place.entries[0][0]), table, probed)


def _without_place(shape: Shape, value: int) -> Shape:
    """Return a shape with one place less; the rest stays as for `_with_place`."""
    table = dict(shape.table)
    del table[value]
    return Shape(*_id_of(shape), shape.best, table, shape.probed)


def _id_of(shape: Shape) -> ShapeId:
    return shape.mask, shape.src_ranged, shape.dst_ranged

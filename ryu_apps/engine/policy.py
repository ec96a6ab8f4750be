"""A compiled policy: one snapshot with everything that deciding needs, made only as far as it is asked for."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from ryu_apps.engine.classifier import GroupClassifier, classify
from ryu_apps.engine.delivery import Directory, directory
from ryu_apps.engine.reclassify import reclassify
from ryu_apps.engine.view import View, applies, compile_view
from ryu_apps.model.network import Segment, Vport
from ryu_apps.model.policy import Change, GroupKey, Snapshot
from ryu_apps.model.rules import Direction, Rule
from ryu_apps.model.turns import Pause, no_pause


@dataclass(frozen=True, slots=True)
class Policy:
    """One snapshot, compiled: classifiers by group, views by vport, vports and segments by number."""

    snapshot: Snapshot
    classifiers: dict[GroupKey, GroupClassifier]
    directory: Directory
    vports: dict[int, Vport]
    segments: dict[int, Segment]
    dpids: dict[int, int]
    """The datapath of each vport, by the vport's number."""
    views: dict[tuple[int, Direction], View] = field(default_factory=dict)
    # Standing entries already compiled, by datapath, with the ports that they were compiled for.
    standing: dict[int, Any] = field(default_factory=dict)
    # Plans already made, by their legs: flows of one kind share one plan object.
    plans: dict[Any, Any] = field(default_factory=dict)
    # The bits that rules look at, by where a first packet is met and goes; and plans already reached, by these bits.
    relevant: dict[Any, int] = field(default_factory=dict)
    reached: dict[Any, Any] = field(default_factory=dict)
    # The meters that the NIC of a host has, by host, where it has not enough.
    metered: dict[str, frozenset[int]] = field(default_factory=dict)
    broken: frozenset[int] = frozenset()
    """The vports, by number, whose way to network functions is broken as far as is known."""
    failed: frozenset[tuple[str, str]] = frozenset()
    """The instances of functions, each as (function, instance), that do not work as far as is known."""
    # Where packets of several priorities share a rate, by host.
    bottlenecks: dict[str, Any] = field(default_factory=dict)

    def view(self, vport: Vport, direction: Direction) -> View:
        """Return the view of a vport in a direction."""
        found = self.views.get((vport.number, direction))
        if found is None:
            found = compile_view(self.snapshot, self.classifiers, vport, direction)
            self.views[vport.number, direction] = found
        return found


def compile_policy(snapshot: Snapshot) -> Policy:
    """Return the compiled form of a whole snapshot."""
    return _policy(snapshot, {key: classify(group) for key, group in snapshot.groups.items()})


def recompile(before: Policy, after: Snapshot, changes: Iterable[Change], pause: Pause = no_pause) -> Policy:
    """Return the compiled form of the snapshot that the changes lead to; what they do not touch is shared."""
    changes = tuple(changes)
    classifiers = dict(before.classifiers)
    touched: set[GroupKey] = set()
    for change in changes:
        key = change.group_key
        if key is None:
            continue
        if key not in after.groups:
            classifiers.pop(key, None)
        elif change.kind == "rules" and key not in touched:
            old, new = before.snapshot.get("rules", change.key), change.value
            versions = (old if isinstance(old, Rule) else None, new if isinstance(new, Rule) else None)
            classifiers[key] = reclassify(classifiers[key], after.groups[key], *versions)
        else:
            classifiers[key] = classify(after.groups[key], pause)
        touched.add(key)
    groups = [key for key in touched if key in before.classifiers or key in classifiers]
    kept = {} if _alters_layers(changes) else _unaffected_views(before, after, groups)
    network = any(change.kind in ("vports", "segments", "routes", "tenants", "hosts") for change in changes)
    if network:
        return replace(_policy(after, classifiers, kept), broken=before.broken, failed=before.failed)
    network_parts = (before.directory, before.vports, before.segments, before.dpids)
    return Policy(after, classifiers, *network_parts, kept, broken=before.broken, failed=before.failed)


def _alters_layers(changes: Iterable[Change]) -> bool:
    return any(change.kind == "layers" for change in changes)


def _unaffected_views(
    before: Policy, after: Snapshot, touched: Iterable[GroupKey]
) -> dict[tuple[int, Direction], View]:
    """Return the views of vports that are as they were, and that none of the groups is part of, before or after.

    When vports change, those that name other vports are made anew: these may have other numbers now.
    """
    versions = [found for key in touched for found in (before.snapshot.groups.get(key), after.groups.get(key)) if found]
    same: Container[int] = before.vports
    moved = after.vports is not before.snapshot.vports
    if moved:
        same = {number for number, vport in before.vports.items() if after.vports.get(vport.id) is vport}
    return {
        (number, direction): view
        for (number, direction), view in before.views.items()
        if number in same
        and not (moved and view.names_vports)
        and not any(applies(group, before.vports[number], direction) for group in versions)
    }


def _policy(
    snapshot: Snapshot,
    classifiers: dict[GroupKey, GroupClassifier],
    views: dict[tuple[int, Direction], View] | None = None,
) -> Policy:
    return Policy(
        snapshot,
        classifiers,
        directory(snapshot),
        {vport.number: vport for vport in snapshot.vports.values()},
        {segment.number: segment for segment in snapshot.segments.values()},
        {vport.number: snapshot.hosts[vport.host].dpid for vport in snapshot.vports.values()},
        views or {},
    )

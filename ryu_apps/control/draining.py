"""Instances that a change takes away, chains that it leads otherwise, and the connections that would lose their way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from ryu_apps.model.chain import Chain, Function, Instance
from ryu_apps.model.errors import Conflict, FieldError
from ryu_apps.model.policy import Change, Snapshot

Count = Callable[[Instance | Chain], int | None]
"""Return how many connections go through an instance or a chain, None where nobody can say."""

_REMEMBERED_BY: Final = ("segment", "hops", "symmetric_return")
"""What a switch remembers the connections of a chain by (`ryu_apps/pipeline/chain_memory.py`)."""


def refuse_live(before: Snapshot, changes: Iterable[Change], connections: Count) -> None:
    """Raise Conflict when a change that is not forced takes away, or leads otherwise, what connections go through."""
    faults = []
    for change in changes:
        for path, one in () if change.forced else _leaving(before, change):
            count = connections(one)
            if count:
                message = f"{count} connections go through it: wait until they have ended, or ask with force=true"
                faults.append(FieldError(change.path + path, message))
    if faults:
        raise Conflict("connections go through it", faults)


def _leaving(before: Snapshot, change: Change) -> Iterator[tuple[str, Instance | Chain]]:
    """Yield what connections lose by a change, each after its path."""
    old = before.get(change.kind, change.key)
    match old, change.value:
        case Function(), Function() as new:
            yield from _instances_leaving(old, new)
        case Chain(), None:
            yield "id", old
        case Chain(), Chain() as new:
            for field in _REMEMBERED_BY:
                if getattr(old, field) != getattr(new, field):
                    yield field, old


def _instances_leaving(old: Function, new: Function) -> Iterator[tuple[str, Instance]]:
    """Yield the instances that a changed function has no more, or has at other ports, each after its path."""
    kept = {one.id: one for one in new.instances}
    for one in old.instances:
        path, now = f"instances.{one.id}", kept.get(one.id)
        if now is None:
            yield path, one
        elif now.host != one.host:
            yield f"{path}.host", one
        elif now.ports != one.ports:
            yield f"{path}.inside", one

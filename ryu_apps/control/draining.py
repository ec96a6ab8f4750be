"""Instances that a change takes away, and the connections that would lose their way with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from ryu_apps.model.chain import Function, Instance
from ryu_apps.model.errors import Conflict, FieldError
from ryu_apps.model.policy import Change, Snapshot


def refuse_live(
    before: Snapshot, changes: Iterable[Change], connections: Callable[[Instance], int | None]
) -> None:
    """Raise Conflict when a change that is not forced takes away instances that connections go through."""
    faults = []
    for change in changes:
        for path, one in () if change.forced else _leaving(before, change):
            count = connections(one)
            if count:
                message = f"{count} connections go through it: wait until they have ended, or ask with force=true"
                faults.append(FieldError(change.path + path, message))
    if faults:
        raise Conflict("connections go through it", faults)


def _leaving(before: Snapshot, change: Change) -> Iterator[tuple[str, Instance]]:
    """Yield the instances that a changed function has no more, or has at other ports, each after its path."""
    old, new = before.functions.get(str(change.key)), change.value
    if change.kind != "functions" or old is None or not isinstance(new, Function):
        return
    kept = {one.id: one for one in new.instances}
    for one in old.instances:
        path, now = f"instances.{one.id}", kept.get(one.id)
        if now is None:
            yield path, one
        elif now.host != one.host:
            yield f"{path}.host", one
        elif now.ports != one.ports:
            yield f"{path}.inside", one

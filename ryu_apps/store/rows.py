"""Policy snapshots as rows of the store, and back.

A row is (kind, key, document); document None deletes.
A group is one header row and one row per rule, so that one rule's change writes one row.
The ids of a compound key are joined by `/`, which no id contains.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from ryu_apps.model.checks import check
from ryu_apps.model.documents import from_document, to_document
from ryu_apps.model.errors import VfswitchError
from ryu_apps.model.policy import Change, Snapshot
from ryu_apps.model.rule_documents import Document, group_header
from ryu_apps.model.rules import Group
from ryu_apps.store.errors import StoreError

Row = tuple[str, str, Document | None]
StoredRow = tuple[str, str, Document]

_GENERATION = ("snapshot", "generation")


def rows_for(changes: Iterable[Change], before: Snapshot) -> list[Row]:
    """Return the rows to write, in order, when the changes are made to `before`; the new generation is the last."""
    rows: list[Row] = []
    current = before
    unmade: list[Change] = []
    for change in changes:
        if change.kind == "groups":
            current, unmade = current.changed(unmade), []
            rows += _group_rows(change, current)
        else:
            document = None if change.value is None else to_document(change.value)
            rows.append((change.kind, _joined(change.key), document))
        unmade.append(change)
    rows.append((*_GENERATION, {"generation": before.generation + 1}))
    return rows


def _joined(key: str | tuple[str, ...]) -> str:
    return key if isinstance(key, str) else "/".join(key)


def _group_rows(change: Change, before: Snapshot) -> Iterator[Row]:
    """Yield the header if it differs, and the rules that differ."""
    key = _joined(change.key)
    old = before.get("groups", change.key)
    new = change.value
    old_rules = old.rules if isinstance(old, Group) else {}
    new_rules = new.rules if isinstance(new, Group) else {}
    if not isinstance(new, Group):
        yield ("groups", key, None)
    elif not isinstance(old, Group) or group_header(old) != group_header(new):
        yield ("groups", key, group_header(new))
    for rule_id in old_rules:
        if rule_id not in new_rules:
            yield ("rules", f"{key}/{rule_id}", None)
    for rule_id, rule in new_rules.items():
        present = old_rules.get(rule_id)
        if present is not rule and present != rule:
            yield ("rules", f"{key}/{rule_id}", to_document(rule))


def restore(rows: Iterable[StoredRow]) -> Snapshot:
    """Return the snapshot that the rows hold, in whatever order they come.

    StoreError when a row cannot be understood or the resources contradict each other.
    """
    generation = 0
    documents: list[tuple[str, str | tuple[str, str], Document]] = []
    rules: dict[tuple[str, str], list[Document]] = defaultdict(list)
    for kind, key, document in rows:
        try:
            if (kind, key) == _GENERATION:
                generation = int(document["generation"])
            elif kind == "rules":
                layer, group, rule = key.split("/")
                rules[layer, group].append({"id": rule, **document})
            elif kind == "groups":
                layer, group = key.split("/")
                documents.append((kind, (layer, group), document))
            else:
                documents.append((kind, key, document))
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"the {kind} row {key!r} cannot be understood: {error!r}") from error
    changes = [_restored(kind, key, document, rules) for kind, key, document in documents]
    if rules:
        raise StoreError(f"there are rules of groups that are not there: {sorted(map(_joined, rules))}")
    try:
        return replace(check(Snapshot(), changes), generation=generation)
    except VfswitchError as error:
        raise StoreError(f"the resources contradict each other: {_told(error)}") from error


def _restored(
    kind: str, key: str | tuple[str, str], document: Document, rules: dict[tuple[str, str], list[Document]]
) -> Change:
    if isinstance(key, tuple):
        document = {**document, "rules": rules.pop(key, [])}
    try:
        return Change(kind=kind, key=key, value=from_document(kind, key, document))
    except VfswitchError as error:
        raise StoreError(f"the {kind} row {_joined(key)!r} cannot be understood: {_told(error)}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StoreError(f"the {kind} row {_joined(key)!r} cannot be understood: {error!r}") from error


def _told(error: VfswitchError) -> str:
    return "; ".join((error.message, *(f"{fault.path}: {fault.message}" for fault in error.errors)))

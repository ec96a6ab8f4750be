"""List, get, put and delete: the same for every kind of resource."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from ryu_apps.api.forms import shown, shown_in_list, understood
from ryu_apps.api.http import Response, json_response
from ryu_apps.api.kinds import SEGMENTS, TENANTS, Key, Kind
from ryu_apps.api.paging import page_body, page_of
from ryu_apps.api.router import Call
from ryu_apps.control.service import Outcome
from ryu_apps.model.errors import Conflict
from ryu_apps.model.network import Segment
from ryu_apps.model.policy import Change, Resource, Snapshot

_UNFINISHED: Final = ("pending", "stored")
# Each attempt that fails means that another request was given a segment number meanwhile.
_ATTEMPTS: Final = 50


def list_all(kind: Kind, call: Call) -> Response:
    """Answer with one page of a collection."""
    snapshot = call.service.snapshot()
    found = kind.members(snapshot, call.params)
    ids, more = page_of(found, call.query["after"], call.query["limit"])
    keys = {name: kind.key({**call.params, kind.one: name}) for name in ids}
    items = [shown_in_list(kind, keys[name], found[name], snapshot) for name in ids]
    return json_response(200, page_body(call.path, items, more, call.query))


def get(kind: Kind, call: Call) -> Response:
    """Answer with one resource."""
    snapshot = call.service.snapshot()
    resource = kind.require(snapshot, call.params)
    return json_response(200, shown(kind, kind.key(call.params), resource, snapshot))


def put(kind: Kind, call: Call) -> Response:
    """Create or replace one resource; what is there already is not put again."""
    key = kind.new_key(call.params)

    def plan(snapshot: Snapshot) -> list[Change]:
        kind.require_parent(snapshot, call.params)
        resource = understood(kind, key, call.body, snapshot)
        return [kind.change(key, resource), *_own_segment(kind, key, snapshot)]

    outcome, snapshot, changes = _carry_out(call, plan)
    created = snapshot.get(kind.name, key) is None and not call.query["dry_run"]
    after = snapshot.changed(changes)
    body = {**shown(kind, key, kind.require(after, call.params), after), "outcome": outcome_body(outcome)}
    return json_response(_status(outcome, 201 if created else 200), body, _headers(call, created))


def delete(kind: Kind, call: Call) -> Response:
    """Delete one resource that no other refers to."""
    key = kind.key(call.params)

    def plan(snapshot: Snapshot) -> list[Change]:
        kind.require(snapshot, call.params)
        changes = [kind.change(key, None)]
        if kind is TENANTS and _is_own(snapshot.get("segments", key), key):
            changes.append(SEGMENTS.change(key, None))
        return changes

    outcome, _, _ = _carry_out(call, plan)
    return json_response(_status(outcome, 200), {"outcome": outcome_body(outcome)}, _headers(call, False))


def outcome_body(outcome: Outcome) -> dict[str, Any]:
    """Return what came of a change as JSON."""
    return {
        "state": outcome.state,
        "generation": outcome.generation,
        "waiting_for": list(outcome.waiting_for),
        "touched_flows": outcome.touched_flows,
        "difference": list(outcome.difference),
    }


def _own_segment(kind: Kind, key: Key, snapshot: Snapshot) -> list[Change]:
    """Return the change that gives a new tenant its own segment, unless one of that id exists."""
    if kind is not TENANTS or not isinstance(key, str) or key in snapshot.tenants or key in snapshot.segments:
        return []
    segment = Segment(id=key, tenant=key, vlan=None, number=snapshot.free_segment_number())
    return [SEGMENTS.change(key, segment)]


def _is_own(segment: Resource | None, tenant: Key) -> bool:
    return isinstance(segment, Segment) and segment.tenant == tenant


def _carry_out(
    call: Call, plan: Callable[[Snapshot], Sequence[Change]]
) -> tuple[Outcome, Snapshot, Sequence[Change]]:
    """Return the outcome of planned changes, the snapshot that they were planned for, and the changes.

    When everything is there already, nothing is asked of the service.
    A segment number is chosen before the change waits for its turn: when another took it, the plan is made anew.
    """
    for _ in range(_ATTEMPTS):
        snapshot = call.service.snapshot()
        changes = plan(snapshot)
        if all(snapshot.get(change.kind, change.key) == change.value for change in changes):
            return Outcome(state="unchanged", generation=snapshot.generation), snapshot, changes
        try:
            outcome = call.service.change(changes, dry_run=call.query["dry_run"], wait=not _asked_async(call))
            return outcome, snapshot, changes
        except Conflict as error:
            if {fault.path for fault in error.errors} != {"number"}:
                raise
    raise Conflict("segment numbers are being taken faster than this request can choose one; send it again")


def _status(outcome: Outcome, done: int) -> int:
    return 202 if outcome.state in _UNFINISHED else done


def _asked_async(call: Call) -> bool:
    """Return whether the client prefers not to wait (RFC 7240 section 4.1)."""
    preferences = call.headers.get("prefer", "").split(",")
    return any(preference.partition(";")[0].strip().lower() == "respond-async" for preference in preferences)


def _headers(call: Call, created: bool) -> tuple[tuple[str, str], ...]:
    applied = (("Preference-Applied", "respond-async"),) if _asked_async(call) else ()
    location = (("Location", call.path),) if created else ()
    return applied + location

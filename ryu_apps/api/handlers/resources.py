"""List, get, put and delete: the same for every kind of resource."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, Final

from ryu_apps.api.forms import shown, shown_in_list, understood
from ryu_apps.api.http import Response, json_response
from ryu_apps.api.kinds import SEGMENTS, TENANTS, Key, Kind
from ryu_apps.api.paging import page_body, page_of
from ryu_apps.api.router import Call
from ryu_apps.control.service import Outcome
from ryu_apps.model.network import Segment
from ryu_apps.model.policy import Change, Resource, Snapshot

_UNFINISHED: Final = "stored"


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
    return json_response(200, shown(kind, kind.key(call.params), resource, snapshot, call.service.pause))


def put(kind: Kind, call: Call) -> Response:
    """Create or replace one resource; to put what is there already asks only whether the switches have it."""
    # A new segment is given the lowest free number: two requests must not choose at the same time.
    with call.turn if kind in (TENANTS, SEGMENTS) else nullcontext():
        return _put(kind, call)


def _put(kind: Kind, call: Call) -> Response:
    key = kind.new_key(call.params)
    snapshot = call.service.snapshot()
    kind.require_parent(snapshot, call.params)
    resource = understood(kind, key, call.body, snapshot, call.service.pause)
    changes = [replace(kind.change(key, resource), forced=_forced(call)), *_own_segment(kind, key, snapshot)]
    outcome = carry_out(call, changes)
    created = snapshot.get(kind.name, key) is None and not call.query["dry_run"]
    body = {**shown(kind, key, resource, snapshot, call.service.pause), "outcome": outcome_body(outcome)}
    status = outcome_status(call, outcome, 201 if created else 200)
    return json_response(status, body, outcome_headers(call, outcome, call.path if created else None))


def delete(kind: Kind, call: Call) -> Response:
    """Delete one resource that no other refers to."""
    key = kind.key(call.params)
    snapshot = call.service.snapshot()
    kind.require(snapshot, call.params)
    changes = [replace(kind.change(key, None), forced=_forced(call))]
    if kind is TENANTS and _is_own(snapshot.get("segments", key), key):
        changes.append(SEGMENTS.change(key, None))
    outcome = carry_out(call, changes)
    body = {"outcome": outcome_body(outcome)}
    return json_response(outcome_status(call, outcome, 200), body, outcome_headers(call, outcome))


def outcome_body(outcome: Outcome) -> dict[str, Any]:
    """Return what came of a change as JSON."""
    return {
        "state": outcome.state,
        "generation": outcome.generation,
        "waiting_for": list(outcome.waiting_for),
        "touched_flows": outcome.touched_flows,
        "difference": list(outcome.difference),
    }


def _forced(call: Call) -> bool:
    """Return whether the client asks for a change that breaks connections; most kinds take no such parameter."""
    return bool(call.query.get("force", False))


def _own_segment(kind: Kind, key: Key, snapshot: Snapshot) -> list[Change]:
    """Return the change that gives a new tenant its own segment, unless one of that id exists."""
    if kind is not TENANTS or not isinstance(key, str) or key in snapshot.tenants or key in snapshot.segments:
        return []
    segment = Segment(id=key, tenant=key, vlan=None, number=snapshot.free_segment_number())
    return [SEGMENTS.change(key, segment)]


def _is_own(segment: Resource | None, tenant: Key) -> bool:
    return isinstance(segment, Segment) and segment.tenant == tenant


def carry_out(call: Call, changes: Sequence[Change]) -> Outcome:
    """Return what came of changes that are made as one, with the client's rights and wishes."""
    return call.service.change(
        changes, rights=call.rights, dry_run=call.query["dry_run"], wait=not _asked_async(call)
    )


def outcome_status(call: Call, outcome: Outcome, done: int) -> int:
    """Return 202 where the client asked not to wait and something is still to come; the body says what."""
    return 202 if _is_to_come(call, outcome) else done


def _is_to_come(call: Call, outcome: Outcome) -> bool:
    return outcome.state == _UNFINISHED and _asked_async(call)


def _asked_async(call: Call) -> bool:
    """Return whether the client prefers not to wait (RFC 7240 section 4.1)."""
    preferences = call.headers.get("prefer", "").split(",")
    return any(preference.partition(";")[0].strip().lower() == "respond-async" for preference in preferences)


def outcome_headers(call: Call, outcome: Outcome, created: str | None = None) -> tuple[tuple[str, str], ...]:
    """Return where the client finds what it made, or what becomes of it (RFC 9110 section 15.3.3)."""
    applied = (("Preference-Applied", "respond-async"),) if _asked_async(call) else ()
    if _is_to_come(call, outcome):
        return (*applied, ("Location", f"/v1/changes/{outcome.generation}"))
    return (*applied, ("Location", created)) if created else applied

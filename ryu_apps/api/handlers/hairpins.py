"""A whole hairpin with one call: the host's NIC mode, VLANs, sub-interfaces and outlets, all or nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ryu_apps.api.forms import shown, understood
from ryu_apps.api.handlers.resources import carry_out, outcome_body, outcome_headers, outcome_status
from ryu_apps.api.http import Response, json_response
from ryu_apps.api.kinds import HOSTS, OUTLETS, VPORTS, Kind
from ryu_apps.api.paging import page_body, page_of
from ryu_apps.api.provision_schemas import ProvisionBody
from ryu_apps.api.router import Call
from ryu_apps.api.validate import faults_of
from ryu_apps.model.errors import Conflict, FieldError, Invalid, NotFound
from ryu_apps.model.policy import Change, Snapshot
from ryu_apps.model.turns import Pause

_PATH = "/v1/hairpins"
# What goes without saying: whose part it is, and what a host with a hairpin refuses.
_LEFT_OUT = ("id", "host", "kind", "synthetic")


def list_hairpins(call: Call) -> Response:
    """Answer with one page of hairpins, by the ids of their hosts."""
    snapshot = call.service.snapshot()
    found = {name: host for name, host in snapshot.hosts.items() if host.hairpin is not None}
    ids, more = page_of(found, call.query["after"], call.query["limit"])
    return json_response(200, page_body(call.path, [_document(snapshot, name) for name in ids], more, call.query))


def get_hairpin(call: Call) -> Response:
    """Answer with one hairpin as it would be posted."""
    snapshot = call.service.snapshot()
    return json_response(200, _document(snapshot, _host(snapshot, call.params["host"])))


def post_hairpin(call: Call) -> Response:
    """Make a hairpin; a host that is there gets one, and its VFs their sub-interfaces."""
    faults = faults_of(ProvisionBody, call.body)
    if faults:
        raise Invalid("the hairpin cannot be accepted", faults)
    name, snapshot = call.body["host"], call.service.snapshot()
    present = snapshot.hosts.get(name)
    if present is not None and present.hairpin is not None:
        raise Conflict("it is there", [FieldError("host", f"host {name!r} has a hairpin: change its parts")])
    _check_moves(snapshot, name, call.body)
    changes = list(_changes(snapshot, call.body, call.service.pause))
    outcome = carry_out(call, changes)
    body = {**_document(snapshot.changed(changes), name), "outcome": outcome_body(outcome)}
    created = None if call.query["dry_run"] else f"{_PATH}/{name}"
    status = outcome_status(call, outcome, 201 if created else 200)
    return json_response(status, body, outcome_headers(call, outcome, created))


def _check_moves(snapshot: Snapshot, host: str, body: Mapping[str, Any]) -> None:
    """Raise Conflict where a part is there already, on another host: it would be taken from that."""
    faults = [
        FieldError(f"{one}.{key}", f"it is on host {present.host!r}")
        for one, known in (("vports", snapshot.vports), ("outlets", snapshot.outlets))
        for key in body.get(one, {})
        if (present := known.get(key)) is not None and present.host != host
    ]
    if faults:
        raise Conflict("a part is on another host", faults)


def delete_hairpin(call: Call) -> Response:
    """Delete a host that has a hairpin, with all that stands on it."""
    snapshot = call.service.snapshot()
    name = _host(snapshot, call.params["host"])
    changes = [OUTLETS.change(outlet, None) for outlet in _on_host(snapshot.outlets, name)]
    changes += [VPORTS.change(vport, None) for vport in _on_host(snapshot.vports, name)]
    outcome = carry_out(call, [*changes, HOSTS.change(name, None)])
    body = {"outcome": outcome_body(outcome)}
    return json_response(outcome_status(call, outcome, 200), body, outcome_headers(call, outcome))


def _host(snapshot: Snapshot, name: str) -> str:
    host = snapshot.hosts.get(name)
    if host is None or host.hairpin is None:
        raise NotFound(f"there is no hairpin {name!r}")
    return name


def _on_host(resources: Mapping[str, Any], host: str) -> list[str]:
    return sorted(key for key, resource in resources.items() if resource.host == host)


def _changes(snapshot: Snapshot, body: Mapping[str, Any], pause: Pause) -> Iterator[Change]:
    """Yield what is to be put, each with the place in the body where its faults are."""
    host = {name: body[name] for name in ("dpid", "limits", "hairpin") if name in body}
    yield _change(HOSTS, body["host"], host, snapshot, pause)
    for kind, one in ((VPORTS, "vports"), (OUTLETS, "outlets")):
        for key, document in body.get(one, {}).items():
            whole = {**document, "host": body["host"]}
            yield _change(kind, key, whole, snapshot, pause, path=f"{one}.{key}.")


def _change(
    kind: Kind, key: str, document: Mapping[str, Any], snapshot: Snapshot, pause: Pause, *, path: str = ""
) -> Change:
    try:
        return replace(kind.change(key, understood(kind, key, document, snapshot, pause)), path=path)
    except Invalid as error:
        raise Invalid(error.message, [FieldError(path + fault.path, fault.message) for fault in error.errors]) from None


def _document(snapshot: Snapshot, name: str) -> dict[str, Any]:
    host = shown(HOSTS, name, snapshot.hosts[name], snapshot)
    return {
        "host": name,
        **{field: host[field] for field in ("dpid", "limits", "hairpin")},
        "vports": {key: _part(VPORTS, key, snapshot) for key in _on_host(snapshot.vports, name)},
        "outlets": {key: _part(OUTLETS, key, snapshot) for key in _on_host(snapshot.outlets, name)},
    }


def _part(kind: Kind, key: str, snapshot: Snapshot) -> dict[str, Any]:
    """Return what a POST says of one part of a hairpin."""
    document = shown(kind, key, kind.require(snapshot, {kind.one: key}), snapshot)
    return {name: value for name, value in document.items() if name not in _LEFT_OUT}

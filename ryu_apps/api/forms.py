"""Between what REST speaks and the documents of the model: ids, read-only names, VLANs of a trunk, segment numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ryu_apps.api.kinds import Key, Kind
from ryu_apps.api.validate import faults_of
from ryu_apps.model.chain import Chain
from ryu_apps.model.documents import from_document, to_document
from ryu_apps.model.errors import FieldError, Invalid
from ryu_apps.model.faults import Faults
from ryu_apps.model.network import Segment, Vport
from ryu_apps.model.policy import Resource, Snapshot
from ryu_apps.model.rule_documents import group_header
from ryu_apps.model.rules import Group
from ryu_apps.model.turns import Pause, no_pause


def shown(
    kind: Kind, key: Key, resource: Resource, snapshot: Snapshot, pause: Pause = no_pause
) -> dict[str, Any]:
    """Return a resource as GET shows it: the ids of its path, then its document."""
    document = to_document(resource, pause)
    if isinstance(resource, Vport) and resource.trunk:
        document["trunk"] = [snapshot.segments[name].vlan for name in resource.trunk]
    return {**_identity(kind, key), **document}


def shown_in_list(kind: Kind, key: Key, resource: Resource, snapshot: Snapshot) -> dict[str, Any]:
    """Return a resource as a list shows it: a group with the number of its rules instead of them."""
    if isinstance(resource, Group):
        return {**_identity(kind, key), **group_header(resource), "rule_count": len(resource.rules)}
    return shown(kind, key, resource, snapshot)


def _identity(kind: Kind, key: Key) -> dict[str, str]:
    parts = (key,) if isinstance(key, str) else key
    return {"id": parts[-1], **dict(zip(kind.names[:-1], parts[:-1], strict=True))}


def understood(kind: Kind, key: Key, body: Any, snapshot: Snapshot, pause: Pause) -> Resource:
    """Return the resource that a PUT's body describes; Invalid names every field at fault."""
    document, faults = _without_read_only(kind, key, body, snapshot)
    faults += faults_of(kind.schema, document, pause)
    if faults:
        raise Invalid(f"the {kind.one} cannot be accepted", faults)
    if kind.name == "segments":
        document["number"] = _segment_number(key, snapshot)
    if kind.name == "chains":
        document["mark"] = _chain_mark(key, document, snapshot)
    if kind.name == "vports" and document.get("trunk"):
        document["trunk"] = _trunk_segments(document, snapshot)
    return from_document(kind.name, key, document, pause)


def _without_read_only(kind: Kind, key: Key, body: Any, snapshot: Snapshot) -> tuple[Any, list[FieldError]]:
    """Return the body without the read-only names that GET shows; a fault for each that was altered."""
    if not isinstance(body, dict):
        return body, []
    document = dict(body)
    read_only: Mapping[str, Any] = _identity(kind, key)
    present = snapshot.get(kind.name, key)
    if isinstance(present, Segment):
        read_only = {**read_only, "number": present.number}
    if isinstance(present, Chain):
        read_only = {**read_only, "mark": present.mark}
    faults = [
        FieldError(name, f"is read-only and is {value!r} here")
        for name, value in read_only.items()
        if document.pop(name, value) != value
    ]
    if kind.name in ("hosts", "functions", "chains"):
        document.pop("live", None)
    return document, faults


def _segment_number(key: Key, snapshot: Snapshot) -> int:
    present = snapshot.get("segments", key)
    return present.number if isinstance(present, Segment) else snapshot.free_segment_number()


def _chain_mark(key: Key, document: Mapping[str, Any], snapshot: Snapshot) -> int:
    """Return the mark that a chain keeps while it stays in its segment."""
    segment = document.get("segment") or document["tenant"]
    present = snapshot.get("chains", key)
    if isinstance(present, Chain) and present.segment == segment:
        return present.mark
    return snapshot.free_mark(segment)


def _trunk_segments(document: Mapping[str, Any], snapshot: Snapshot) -> list[str]:
    """Return the segments of a trunk's VLANs; Invalid names each VLAN that no segment of the tenant has."""
    tenant = document["tenant"]
    by_vlan = {segment.vlan: segment.id for segment in snapshot.segments.values() if segment.tenant == tenant}
    faults = Faults()
    names: list[str] = []
    for index, vlan in enumerate(document["trunk"]):
        if vlan in by_vlan:
            names.append(by_vlan[vlan])
        else:
            faults.add(f"trunk[{index}]", f"tenant {tenant!r} has no segment with VLAN {vlan}")
    faults.refuse("the vport cannot be accepted")
    return names

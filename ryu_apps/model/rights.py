"""Who may change what: every layer has an owner, and only its owner or the administrator writes it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ryu_apps.model.errors import FieldError, Forbidden
from ryu_apps.model.policy import Change, Snapshot
from ryu_apps.model.rules import Layer

OWNER_PATTERN: Final = "[ -~]{1,64}"
# The owner of every layer that names none.
ADMIN: Final = "admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """What one client may do: read everything, and write in the name of an owner if it may write at all.

    The owner `admin` writes everything, any other the layers that it owns, with their groups and rules.
    vport: a VM's driver, which may read the hints of this vport and nothing else; None for everybody else.
    """

    owner: str
    may_write: bool
    vport: str | None = None


def driver_rights(vport: str) -> Rights:
    """Return the rights of the driver of a vport's VM; it owns nothing."""
    return Rights(owner="", may_write=False, vport=vport)


ALL_RIGHTS: Final = Rights(owner=ADMIN, may_write=True)


def check_rights(rights: Rights, before: Snapshot, changes: Iterable[Change]) -> None:
    """Raise Forbidden unless the rights cover every one of the changes to a snapshot.

    A layer must be the writer's own before the change and after it: it can be neither taken over nor given away.
    """
    if rights == ALL_RIGHTS:
        return
    for change in changes:
        layer_id = change.group_key[0] if change.group_key else change.key
        if change.kind not in ("layers", "groups", "rules") or not isinstance(layer_id, str):
            check_admin(rights)
        else:
            # A group of a layer that is not there is refused as such, or comes with the layer.
            check_layer(rights, before.layers.get(layer_id))
        if isinstance(change.value, Layer) and change.value.owner != rights.owner:
            message = f"layer {change.value.id!r} would belong to owner {change.value.owner!r}"
            raise Forbidden(f"{message}; {_scope(rights)}", [FieldError("owner", f"must be {rights.owner!r}")])


def check_admin(rights: Rights) -> None:
    """Raise Forbidden unless these are the administrator's rights."""
    _check_writer(rights)
    if rights.owner != ADMIN:
        raise Forbidden(f"only the administrator may do this; {_scope(rights)}")


def check_layer(rights: Rights, layer: Layer | None) -> None:
    """Raise Forbidden unless the rights are enough to write in a layer as it stands; None: it does not exist yet."""
    _check_writer(rights)
    if layer is not None and rights.owner not in (ADMIN, layer.owner):
        raise Forbidden(f"layer {layer.id!r} belongs to owner {layer.owner!r}; {_scope(rights)}")


def check_reader(rights: Rights, hints_of: str | None = None) -> None:
    """Raise Forbidden unless the rights are enough to read: everything, or the hints of one vport."""
    if rights.vport is not None and rights.vport != hints_of:
        raise Forbidden(f"this token may only read the hints of vport {rights.vport!r}")


def _check_writer(rights: Rights) -> None:
    if not rights.may_write:
        raise Forbidden("this token may only read")


def _scope(rights: Rights) -> str:
    return f"this token writes the layers of owner {rights.owner!r}"

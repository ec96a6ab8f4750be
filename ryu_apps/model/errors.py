"""The one error tree: every refusal has a stable slug, an HTTP status and field paths."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldError:
    """One fault in what a client sent: where it is and what is wrong with it."""

    path: str
    message: str


class VfswitchError(Exception):
    """A request that cannot be carried out; nothing was changed."""

    slug = "error"
    status = 500

    def __init__(self, message: str, errors: Iterable[FieldError] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.errors = tuple(errors)

    @classmethod
    def at(cls, path: str, message: str) -> VfswitchError:
        """Return the error for one field."""
        return cls(message, (FieldError(path, message),))


class Forbidden(VfswitchError):
    """The client may not do this: what it would write belongs to another."""

    slug = "forbidden"
    status = 403


class NotFound(VfswitchError):
    """The named resource does not exist."""

    slug = "not-found"
    status = 404


class Conflict(VfswitchError):
    """The request contradicts what exists: a duplicate VLAN or MAC, or a resource in use."""

    slug = "conflict"
    status = 409


class Invalid(VfswitchError):
    """A field's value cannot be accepted."""

    slug = "invalid"
    status = 422


class SwitchRefused(VfswitchError):
    """The switch answered a change with an OpenFlow error; the change was undone."""

    slug = "switch-refused"
    status = 502


class SwitchAway(VfswitchError):
    """A datapath that the change needs is not connected; nothing was changed."""

    slug = "switch-away"
    status = 503


class NotConfirmed(VfswitchError):
    """The switch did not confirm in time; what it has is unknown until it reconnects."""

    slug = "not-confirmed"
    status = 504

"""Which field of a request is at fault when what it changes does not fit what others say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ryu_apps.model.errors import FieldError
from ryu_apps.model.policy import Change

Parties = Mapping[tuple[str, str], str]
"""Who could put it right: kind and id of each resource, with the field in which."""


class Misfit(NamedTuple):
    """Why resources do not fit each other, and whose field each has in it."""

    reason: str
    parties: Parties


def fault_of(changes: Iterable[Change], misfit: Misfit, whose: str) -> FieldError:
    """Return the fault of the first change that is to one of the parties; whose is named before the reason."""
    message = f"{whose}: {misfit.reason}"
    for change in changes:
        field = misfit.parties.get((change.kind, str(change.key)))
        if field is not None:
            return FieldError(change.path + field, message)
    return FieldError("id", message)

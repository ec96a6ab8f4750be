"""Who may come in: the bearer token of a request (RFC 6750), and whether its rights are enough for an operation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

from ryu_apps.api.problems import Unauthorized
from ryu_apps.model.policy import Snapshot
from ryu_apps.model.rights import ALL_RIGHTS, Rights, check_admin, check_layer, check_reader
from ryu_apps.model.tokens import Tokens

# RFC 6750 section 2.1; the name of a scheme is read in any case (RFC 9110 section 11.1).
_BEARER: Final = re.compile(r"(?i:bearer) +([A-Za-z0-9._~+/-]+=*)")


class Needs(Enum):
    """What an operation asks of its client."""

    NOTHING = auto()
    """It is for everyone, with a token or without."""
    READ = auto()
    """Any token but a VM's."""
    HINTS = auto()
    """Any token but that of another VM than the path names."""
    LAYER = auto()
    """A token that may write the layer that the path names."""
    ADMIN = auto()
    """A token of the administrator."""


def rights_of(headers: Mapping[str, str], tokens: Tokens | None) -> Rights:
    """Return what a client may do; Unauthorized when tokens are in force and it sends none of them.

    Without tokens everyone who reaches the service has all rights.
    """
    if tokens is None:
        return ALL_RIGHTS
    given = headers.get("authorization", "")
    found = _BEARER.fullmatch(given)
    rights = None if found is None else tokens.rights_of(found[1])
    if rights is not None:
        return rights
    if given[:6].lower() == "bearer":
        raise Unauthorized("this token is not known", error="invalid_token")
    raise Unauthorized("send a token in the header Authorization, after the word Bearer")


def check_needs(needs: Needs, rights: Rights, params: Mapping[str, str], snapshot: Snapshot) -> None:
    """Raise Forbidden when it is clear from the path that the rights are not enough.

    What the body says, and what changes in the meantime, is checked with the change itself.
    """
    match needs:
        case Needs.HINTS:
            check_reader(rights, params["vport"])
        case Needs.READ:
            check_reader(rights)
        case Needs.ADMIN:
            check_admin(rights)
        case Needs.LAYER:
            check_layer(rights, snapshot.layers.get(params["layer"]))

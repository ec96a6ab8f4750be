"""What a rule does with a packet that it matches; `name` is an action's word in documents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ryu_apps.model.transposition import Transposition


@dataclass(frozen=True, slots=True)
class Allow:
    """Go on to the next layer."""

    name: ClassVar = "allow"


@dataclass(frozen=True, slots=True)
class Deny:
    """Stop here and drop."""

    name: ClassVar = "deny"


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Set header fields and go on; a reply is not touched."""

    name: ClassVar = "rewrite"
    edit: Transposition


@dataclass(frozen=True, slots=True, kw_only=True)
class Nat:
    """Translate source, destination or both and go on; a reply is translated back (RFC 3022).

    The edit holds the fields to set: addresses, and ports and MACs where given.
    """

    name: ClassVar = "nat"
    edit: Transposition


Action = Allow | Deny | Rewrite | Nat

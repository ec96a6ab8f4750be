"""What is said of one table."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Miss(Enum):
    """What becomes of a packet that no entry of a table matches."""

    DROP = "drop, counted"
    CONTROLLER = "packet-in"
    CONTINUE = "on to the next table"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table: its contract, which every entry is checked against."""

    name: str
    purpose: str
    matches: frozenset[str]
    writes: frozenset[str]
    next: frozenset[str]
    miss: Miss

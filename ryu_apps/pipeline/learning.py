"""What a switch does by itself for each connection, as values: entries that it writes, and ports that it chooses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Bits(NamedTuple):
    """Some bits of a register."""

    register: str
    first: int
    width: int

    def holding(self, value: int) -> tuple[str, tuple[int, int]]:
        """Return what matches a value in them, by the name of the register."""
        return self.register, (value << self.first, ((1 << self.width) - 1) << self.first)


Target = str | Bits
"""What a new entry matches or sets: a field, a register, or some bits of one."""

Source = int | str | Bits
"""A value, or where the packet at hand has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learn:
    """Write an entry that sets registers, made from the packet at hand (Nicira extension NXAST_LEARN).

    match and load pair a field of the new entry, or a register that it sets, with where the value comes from.
    They go with the entry that this action stands in.
    Once a FIN or RST has met the new entry, it goes after fin_idle_s without packets; 0 changes nothing.
    """

    table: str
    priority: int
    cookie: int
    idle_timeout_s: int
    fin_idle_s: int
    match: tuple[tuple[str, Source], ...]
    load: tuple[tuple[Target, Source], ...]


@dataclass(frozen=True, slots=True)
class Spread:
    """Choose one of these ports by the packet's addresses and L4 ports, alike for both directions of a connection.

    Only ports whose link is up are chosen; `to`, 16 bits, has the number then, 65535 where none is up
    (Nicira extension NXAST_BUNDLE_LOAD, highest random weight).
    """

    members: tuple[int, ...]
    to: Bits


@dataclass(frozen=True, slots=True)
class FirstUp:
    """Send out of the first of these ports whose link is up (Nicira extension NXAST_BUNDLE, active-backup)."""

    members: tuple[int, ...]


NONE_UP = 0xFFFF
"""OFPP_NONE in 16 bits: what Spread chooses where no link is up."""

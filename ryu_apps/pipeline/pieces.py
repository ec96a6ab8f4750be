"""Standing entries in pieces, and what differs between two sets of pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from ryu_apps.pipeline.entry import EntryKey, FlowEntry


class Piece(NamedTuple):
    """Entries, with the values that they were compiled from; a piece that is taken over stays the same object."""

    values: tuple[object, ...]
    entries: tuple[FlowEntry, ...]


PieceKey = tuple[Callable[..., Any], object]
"""What compiled a piece, and for which vport, segment or MAC."""
Pieces = Mapping[PieceKey, Piece]

NO_PIECES: Final[Pieces] = MappingProxyType({})


class Part(NamedTuple):
    """What a piece is to be compiled from: the function, for which vport, segment or MAC, and the values."""

    make: Callable[..., Iterator[FlowEntry]]
    key: object
    values: tuple[object, ...]


def pieces_of(parts: Iterable[Part], known: Pieces = NO_PIECES) -> Pieces:
    """Return the pieces of these parts; those of `known` made from the same values are taken over."""
    made: dict[PieceKey, Piece] = {}
    for make, key, values in parts:
        found = known.get((make, key))
        # Values that have not changed are nearly always the same objects, which compare at once.
        made[make, key] = found if found is not None and found.values == values else Piece(values, tuple(make(*values)))
    return made


def entries_of(pieces: Pieces) -> Iterator[FlowEntry]:
    """Yield the entries of all pieces; no two of them have the same key."""
    for piece in pieces.values():
        yield from piece.entries


def differences(old: Pieces, new: Pieces) -> tuple[tuple[FlowEntry, ...], tuple[FlowEntry, ...]]:
    """Return the entries to remove and those to add or replace, where one set of pieces follows another.

    Only pieces that are not the same object are looked into.
    """
    gone = _by_key(piece for key, piece in old.items() if new.get(key) is not piece)
    come = _by_key(piece for key, piece in new.items() if old.get(key) is not piece)
    removed = tuple(made for key, made in gone.items() if key not in come)
    added = tuple(made for key, made in come.items() if gone.get(key) != made)
    return removed, added


def _by_key(pieces: Iterator[Piece]) -> dict[EntryKey, FlowEntry]:
    return {made.key: made for piece in pieces for made in piece.entries}

"""Entries as Open vSwitch reports them, for comparing what is wanted with what is there."""

from __future__ import annotations

from ryu_apps.control.events import PresentEntry
from ryu_apps.pipeline.cached import CachedEntry
from ryu_apps.pipeline.entry import FlowEntry
from ryu_apps.pipeline.tables import NUMBER
from ryu_apps.southbound import codec, templates


def entry_id(entry: FlowEntry | PresentEntry) -> tuple[int, int, bytes]:
    """Return which entry of its datapath one is: table, priority and match, as the switch reports them."""
    if isinstance(entry, PresentEntry):
        return entry.table, entry.priority, entry.match
    return NUMBER[entry.table], entry.priority, codec.encode_match(entry.match)


def wire(entry: FlowEntry | CachedEntry) -> tuple[bytes, bytes]:
    """Return an entry's match and instructions, byte for byte as in the PresentEntry of the same entry."""
    if isinstance(entry, CachedEntry):
        return templates.match_and_instructions(entry)
    return codec.encode_match(entry.match), codec.encode_instructions(entry)

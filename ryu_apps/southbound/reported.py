"""Entries as Open vSwitch reports them, for comparing what is wanted with what is there."""

from __future__ import annotations

from ryu_apps.pipeline.cached import CachedEntry
from ryu_apps.pipeline.entry import FlowEntry
from ryu_apps.southbound import codec, templates


def wire(entry: FlowEntry | CachedEntry) -> tuple[bytes, bytes]:
    """Return an entry's match and instructions, byte for byte as in the PresentEntry of the same entry."""
    if isinstance(entry, CachedEntry):
        return templates.match_and_instructions(entry)
    return codec.encode_match(entry.match), codec.encode_instructions(entry)

"""Standing entries for what the network brings: it needs a VLAN that is known, and is not a vport's own frame."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ryu_apps.model.network import Segment, Vport
from ryu_apps.pipeline.cookie import Cookie, EntryClass, Refusal
from ryu_apps.pipeline.entry import FlowEntry, MatchValue, entry
from ryu_apps.pipeline.registers import SEGMENT, SENDER

_BASE: Final = Cookie(EntryClass.BASE).pack()


def from_uplink(uplink: int) -> Iterator[FlowEntry]:
    """Yield that the network's frames need a VLAN that is known."""
    unknown = Cookie(EntryClass.GUARD, detail=Refusal.UNKNOWN_VLAN).pack()
    yield entry("classify", 90, {"in_port": uplink}, cookie=unknown)


def past_guard() -> Iterator[FlowEntry]:
    """Yield that frames from the network pass the guard but for those brought back."""
    yield entry("guard", 90, {SENDER: 0}, goto="deliver", cookie=_BASE)


def reflected(vport: Vport, segments: tuple[Segment, ...]) -> Iterator[FlowEntry]:
    """Yield the check that the network does not bring a vport's own frames back."""
    cookie = Cookie(EntryClass.GUARD, vport=vport.number, detail=Refusal.REFLECTED).pack()
    for segment in segments:
        match: dict[str, MatchValue] = {SENDER: 0, SEGMENT: segment.number, "eth_src": vport.mac}
        yield entry("guard", 100, match, cookie=cookie)

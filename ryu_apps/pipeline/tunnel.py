"""Standing entries for the tunnel port: VXLAN in by its VNI, out to where a rule said (RFC 7348)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ryu_apps.pipeline.cookie import Cookie, EntryClass, Refusal
from ryu_apps.pipeline.entry import FlowEntry, MatchValue, Output, SetField, entry
from ryu_apps.pipeline.registers import EXIT, EXIT_BY_TUNNEL, SEGMENT

_BASE: Final = Cookie(EntryClass.BASE).pack()


def tunnel_entries(port_no: int | None, vnis: tuple[tuple[int, int], ...]) -> Iterator[FlowEntry]:
    """Yield how frames from the tunnel find their segment, and how frames leave; without the port they are dropped.

    vnis holds segments by number, each with its VNI.

    Open vSwitch has taken the outer headers off, and puts them on, so that no entry sees them.
    """
    leave: dict[str, MatchValue] = {EXIT: EXIT_BY_TUNNEL}
    if port_no is None:
        gone = Cookie(EntryClass.GUARD, detail=Refusal.NO_TUNNEL).pack()
        # Not the other's priority: an entry that replaces another takes over what that has counted.
        yield entry("egress", 94, leave, cookie=gone)
        return
    yield entry("egress", 95, leave, Output(port_no), cookie=_BASE)
    for number, vni in vnis:
        match: dict[str, MatchValue] = {"in_port": port_no, "tunnel_id": vni}
        yield entry("classify", 100, match, SetField(SEGMENT, number), goto="guard", cookie=_BASE)
    unknown = Cookie(EntryClass.GUARD, detail=Refusal.UNKNOWN_VNI).pack()
    yield entry("classify", 90, {"in_port": port_no}, cookie=unknown)

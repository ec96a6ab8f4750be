"""Entries held back while a connection's first packets are on their way through the controller.

The switch forwards by an entry from the moment it has it, and what it forwards overtakes what the controller still has.
So the packets of a burst go through the controller in their order, and the entry follows when the flow pauses.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ryu_apps.model.flow_key import PROTO_TCP, Family, Parsed
from ryu_apps.model.rules import Direction

# A pause longer than a packet takes through the controller: nothing of the flow is on its way then.
PAUSE_S: Final = 0.004
# A flow that does not pause gets its entry all the same: behind a packet when those come singly, so that the next one
# finds it, else when nothing waits to be looked at; what is on its way just then may be overtaken.
MOST_S: Final = 0.006
SINGLE_S: Final = 0.0005

_PROTO_SHIFT: Final = {Family.IPV4: 104, Family.IPV6: 296}
_SYN, _SYN_ACK = 0x02, 0x12


class Held(NamedTuple):
    """One leg of a flow whose entry is held back: the vport and direction at which its packets miss."""

    flow_id: int
    vport: int
    direction: Direction


class Holding:
    """The legs held back, with the times of the first and the latest packet of each."""

    def __init__(self) -> None:
        self._times: dict[Held, tuple[float, float]] = {}

    def __len__(self) -> int:
        return len(self._times)

    def __contains__(self, leg: Held) -> bool:
        return leg in self._times

    def drop(self, leg: Held) -> bool:
        """Hold a leg back no more, whose entry is not wanted now; return whether it was."""
        return self._times.pop(leg, None) is not None

    def seen(self, leg: Held, now_s: float) -> bool:
        """Hold a leg back, or note another packet of one that is; return whether it stays so behind this packet."""
        first_s, latest_s = self._times.get(leg, (now_s, now_s))
        if now_s - first_s >= MOST_S and now_s - latest_s >= SINGLE_S:
            del self._times[leg]
            return False
        self._times[leg] = first_s, now_s
        return True

    def due(self, now_s: float) -> list[Held]:
        """Return the legs whose packets have paused, or do not pause; they are held back no more.

        Ask when all that has arrived was looked at: then the fewest packets are on their way.
        """
        legs = [
            leg
            for leg, (first_s, latest_s) in self._times.items()
            if now_s - latest_s >= PAUSE_S or now_s - first_s >= MOST_S + PAUSE_S
        ]
        for leg in legs:
            del self._times[leg]
        return legs


def travels_alone(frame: bytes, parsed: Parsed) -> bool:
    """Return whether the sender waits for an answer before it sends more: a TCP SYN (RFC 9293 section 3.5)."""
    family, bits = parsed.key
    shift = _PROTO_SHIFT.get(family)
    if shift is None or bits >> shift & 0xFF != PROTO_TCP or parsed.fragment:
        return False
    return frame[parsed.l4_offset + 13] & _SYN_ACK == _SYN

"""The cookie of an entry: who made it, what for, and for which vport and flow.

======= ==== =====================================================================
field   bits meaning
======= ==== =====================================================================
mark    8    0xF5 on every entry of ours; anything else is foreign
class   4    what the entry is for
gen     12   generation of the policy that it was made under, modulo 4096
vport   12   number of the vport, 0 for none
detail  28   flow id of a connection's entry; reason of a guard entry; kind of a punt,
             plus 8 at a receiver's; what a base entry counts of its vport;
             1 on what catches the probes of an instance that has failed
======= ==== =====================================================================
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

MARK: Final = 0xF5
MARK_MASK: Final = 0xFF << 56
CLASS_MASK: Final = 0xF << 52
VPORT_MASK: Final = 0xFFF << 28
DETAIL_MASK: Final = (1 << 28) - 1
GENERATIONS: Final = 1 << 12
FLOW_IDS: Final = 1 << 28
VPORTS: Final = 1 << 12


class EntryClass(IntEnum):
    """What an entry is for."""

    BASE = 1
    PUNT = 2
    GUARD = 3
    FORWARD = 4
    REPLY = 5
    EXTRA = 6
    LEAD = 7
    PROBE = 8
    LEARNED = 12
    METER = 13


class Punt(IntEnum):
    """Why a packet is sent to the controller.

    MISS: no entry yet. The others are decided packet by packet and leave no entry:
    fragments, multicast, broadcast and DHCP (SINGLE), and ARP or ND where a rule names them.
    CLOSING is a copy of a packet that went on: a TCP RST that the verdicts have let pass.
    POOL: about an address of a NAT pool: who has it is asked, or an ICMP error or later fragment has come for it.
    """

    MISS = 0
    FRAGMENT = 1
    SINGLE = 2
    NEIGHBOUR = 3
    CLOSING = 4
    POOL = 5


INBOUND_PUNT: Final = 8
"""Added to the punt of an entry that asks for a receiver, and not for the sender of the packet."""


class Refusal(IntEnum):
    """Why a packet is dropped before policy is asked."""

    VLAN = 1
    MAC = 2
    IP = 3
    ARP = 4
    ND = 5
    ROUTER = 6
    DHCP_SERVER = 7
    REFLECTED = 8
    UNKNOWN_VLAN = 9
    NOT_LOCAL = 10
    BANDWIDTH = 11
    NO_TUNNEL = 12
    UNKNOWN_VNI = 13
    HALF_OPEN_LIMIT = 14
    MISS_LIMIT = 15
    NOT_LENT = 16
    TAGGED = 17
    NO_CABLE = 18
    NO_FUNCTION = 19
    OUTLET_MAC = 20
    PROBE = 21

    @property
    def slug(self) -> str:
        """The reason's name in statistics."""
        return self.name.lower().replace("_", "-")


class Counted(IntEnum):
    """What the packets of a standing entry are to its vport: the figures that hits and misses are made from.

    LOOKUP: they ask the cache. PASS: they are let past it, as ARP is. RETURN: they went back to the VM.
    Those that ask the controller are counted by entries of class punt; the rest of the look-ups are the cache's hits.
    """

    NOTHING = 0
    OUTBOUND_LOOKUP = 1
    OUTBOUND_PASS = 2
    INBOUND_LOOKUP = 4
    INBOUND_PASS = 5
    OUTBOUND_RETURN = 7


STANDING_MASK: Final = MARK_MASK | 4 << 52
"""With the mark alone as value: all entries of ours but those of connections, whose classes alone have this bit."""

CACHED: Final = frozenset({EntryClass.FORWARD, EntryClass.REPLY, EntryClass.EXTRA})


class Cookie(NamedTuple):
    """A cookie's fields."""

    entry_class: EntryClass
    generation: int = 0
    vport: int = 0
    detail: int = 0

    def pack(self) -> int:
        """Return the 64-bit cookie; the generation is taken modulo 4096."""
        return (
            MARK << 56 | self.entry_class << 52 | self.generation % GENERATIONS << 40 | self.vport << 28 | self.detail
        )


def of_vport(cookie: int, vport: int) -> int:
    """Return a cookie that names no vport with this one in it."""
    return cookie | vport << 28


def is_reply(cookie: int) -> bool:
    """Return whether the cookie of a cached entry is of one for replies."""
    return cookie >> 52 & 0xF == EntryClass.REPLY


def unpack(cookie: int) -> Cookie | None:
    """Return a cookie's fields, None when the entry is not ours."""
    if cookie >> 56 != MARK:
        return None
    try:
        entry_class = EntryClass(cookie >> 52 & 0xF)
    except ValueError:
        return None
    return Cookie(entry_class, cookie >> 40 & 0xFFF, cookie >> 28 & 0xFFF, cookie & DETAIL_MASK)

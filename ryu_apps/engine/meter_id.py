"""Numbers of meters: a function of what a meter is for, so that they are the same after a restart.

The lower half is for meters that follow from policy alone, the upper half for those of single connections.
"""

from __future__ import annotations

from typing import Final
from zlib import crc32

# Open vSwitch takes any number up to 0x7fffffff (it has OFPM_MAX, OpenFlow 1.4.0, section 7.3.4.4, for more).
_HALF: Final = 1 << 30


def meter_id(*names: str) -> int:
    """Return the number of the meter with these names (vport, layer, group, rule), 1 to 0x3fffffff.

    Two meters of one switch may meet in one number; `pipeline.meters` refuses that.
    """
    return crc32("/".join(names).encode()) % (_HALF - 1) + 1


def connection_meter_id(connection: int, meter: int) -> int:
    """Return the number of the meter that a connection, by flow id, has beside a rule's, by number; from 0x40000000 on.

    Two meters of one switch may meet in one number; `control.connection_meters` lets only one of them be.
    """
    return _HALF | crc32(b"%d/%d" % (connection, meter)) % _HALF


def is_of_connection(number: int) -> bool:
    """Return whether a number is one of a single connection's meter."""
    return number >= _HALF

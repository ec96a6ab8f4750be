"""Numbers of meters: a function of what a meter is for, so that they are the same after a restart."""

from __future__ import annotations

from zlib import crc32

_MOST = 0x7FFFFFFF
"""Open vSwitch takes any number up to this (it has OFPM_MAX, OpenFlow 1.4.0, section 7.3.4.4, for more)."""


def meter_id(*names: str) -> int:
    """Return the number of the meter with these names (vport, layer, group, rule), 1 to 0x7fffffff.

    Two meters of one switch may meet in one number; `pipeline.meters` refuses that.
    """
    return crc32("/".join(names).encode()) % _MOST + 1

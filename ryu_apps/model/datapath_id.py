"""Datapath ids as text."""

from __future__ import annotations

import re
from typing import Final

_DPID: Final = re.compile(r"[0-9a-fA-F]{1,16}")


def parse_dpid(text: str) -> int:
    """Return a 64-bit datapath id; ValueError unless it is 1 to 16 hex digits and not zero, which no switch has."""
    if not _DPID.fullmatch(text):
        raise ValueError(f"{text!r} is not a datapath id of up to 16 hex digits")
    dpid = int(text, 16)
    if not dpid:
        raise ValueError("zero is no switch's datapath id")
    return dpid

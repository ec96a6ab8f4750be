"""What is said of a peer that breaks OpenFlow."""

from __future__ import annotations


class Malformed(ValueError):
    """A peer broke OpenFlow; the text is one of a few fixed phrases, because counters carry it."""

"""Decisions as functions of values: what policy says of a packet, and where the packet goes."""

"""Effects as the messages that carry them out."""

from __future__ import annotations

from ryu_apps.control.effects import Choke, Effect, Emit, Install, Release
from ryu_apps.southbound.codec import flow_mod
from ryu_apps.southbound.packet_out import packet_out
from ryu_apps.southbound.templates import add, delete_strict


def encode(effect: Effect) -> bytes:
    """Return the message that carries an effect out; TypeError for one that is no message, such as a question."""
    kind = type(effect)
    if kind is Install:
        return add(effect[1])  # type: ignore[arg-type]
    if kind is Emit:
        return packet_out(effect)  # type: ignore[arg-type]
    if kind is Release:
        return delete_strict(effect[1])  # type: ignore[arg-type]
    if kind is Choke:
        return flow_mod(effect[1])  # type: ignore[arg-type]
    raise TypeError(f"{effect!r} is no message to a switch")

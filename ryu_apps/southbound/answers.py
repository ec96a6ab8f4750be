"""Effects as the messages that carry them out."""

from __future__ import annotations

from ryu_apps.control.effects import Add, Choke, Effect, Emit, Install, Release, Remove
from ryu_apps.southbound.codec import flow_mod
from ryu_apps.southbound.packet_out import packet_out
from ryu_apps.southbound.templates import add, delete_strict
from ryu_apps.southbound.wire import DELETE_STRICT


def encode(effect: Effect) -> bytes:
    """Return the message that carries an effect out; TypeError for one that is no message, such as a question."""
    kind = type(effect)
    if kind is Install:
        return add(effect[1])  # type: ignore[arg-type]
    if kind is Emit:
        return packet_out(effect)  # type: ignore[arg-type]
    if kind is Release:
        return delete_strict(effect[1])  # type: ignore[arg-type]
    if kind is Choke or kind is Add:
        return flow_mod(effect[1])  # type: ignore[arg-type]
    if kind is Remove:
        return flow_mod(effect[1], DELETE_STRICT)  # type: ignore[arg-type]
    raise TypeError(f"{effect!r} is no message to a switch")

"""Effects as the messages that carry them out."""

from __future__ import annotations

from collections.abc import Iterator

from ryu_apps.control.effects import Add, Choke, DropMeter, Effect, Emit, Install, PutMeter, Release, Remove
from ryu_apps.pipeline.beside import connection_meter_entry
from ryu_apps.southbound.codec import flow_mod
from ryu_apps.southbound.meters import ADD, MODIFY, meter_delete, meter_mod
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
    if kind is PutMeter:
        return b"".join(_meter_messages(effect))  # type: ignore[arg-type]
    if kind is DropMeter:
        return meter_delete(effect[1])  # type: ignore[arg-type]
    if kind is Remove:
        return flow_mod(effect[1], DELETE_STRICT)  # type: ignore[arg-type]
    raise TypeError(f"{effect!r} is no message to a switch")


def _meter_messages(effect: PutMeter) -> Iterator[bytes]:
    """Yield a connection's meter, and behind it the entry that leads to it."""
    yield meter_mod(MODIFY if effect.altered else ADD, effect.config)
    if not effect.altered:
        yield flow_mod(connection_meter_entry(effect.config.number, effect.vport, effect.connection))

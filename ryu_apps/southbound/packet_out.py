"""Packet-outs: a frame sent on from a table of the pipeline, with the registers that it had."""

from __future__ import annotations

from struct import Struct
from typing import Final

from ryu_apps.control.effects import Emit
from ryu_apps.pipeline.registers import RECEIVER, SEGMENT, SENDER
from ryu_apps.pipeline.tables import NUMBER
from ryu_apps.southbound import wire
from ryu_apps.southbound.codec import encode_actions

# Packet-out (OpenFlow 1.4.0, section 7.3.7): header, buffer_id, in_port, actions_len, three set-fields.
# More actions, the resubmit and the frame follow.
_PACKET_OUT: Final = Struct("!I4xIIH6x8sI12sI12sI4x").pack
_PACKET_OUT_HEAD: Final = wire.VERSION << 24 | wire.Type.PACKET_OUT << 16
_ACTIONS_BYTES: Final = 4 * 16
_HEADER_BYTES: Final = 24
_SET_REGISTER: Final = {name: wire.set_field(name, 0)[:8] for name in (SEGMENT, SENDER, RECEIVER)}
_SET_SEGMENT, _THEN_SENDER, _THEN_RECEIVER = (
    _SET_REGISTER[SEGMENT], bytes(4) + _SET_REGISTER[SENDER], bytes(4) + _SET_REGISTER[RECEIVER]
)  # fmt: skip
_RESUBMIT: Final = {table: wire.resubmit(table) for table in NUMBER}


def packet_out(emit: Emit) -> bytes:
    """Return the packet-out that sends a frame on from a table, with its registers set and its actions carried out."""
    _, table, in_port, segment, sender, receiver, frame, actions = emit
    then = _RESUBMIT[table]
    actions_bytes = _ACTIONS_BYTES
    if actions:
        then = encode_actions(actions) + then
        actions_bytes += len(then) - len(_RESUBMIT[table])
    return (
        _PACKET_OUT(
            _PACKET_OUT_HEAD | _HEADER_BYTES + actions_bytes + len(frame), wire.NO_BUFFER, in_port, actions_bytes,
            _SET_SEGMENT, segment, _THEN_SENDER, sender, _THEN_RECEIVER, receiver,
        )
        + then
        + frame
    )  # fmt: skip

"""A transposition as set-field actions."""

from __future__ import annotations

from typing import Final

from ryu_apps.model.fields import FIELDS
from ryu_apps.model.flow_key import FlowKey
from ryu_apps.model.transposition import Transposition
from ryu_apps.pipeline.entry import EntryAction, PopVlan, PushVlan, SetField

PORT_FIELDS: Final = {6: ("tcp_src", "tcp_dst"), 17: ("udp_src", "udp_dst"), 132: ("sctp_src", "sctp_dst")}


def edit_actions(edit: Transposition, key: FlowKey) -> tuple[SetField, ...]:
    """Return the composed edit of header fields, tags apart, as set-field actions for packets with this key."""
    return tuple(SetField(_wire_name(name, key), value) for name, value in edit.on(key) if name != "vlan_vid")


def retag_actions(before: int, after: int) -> tuple[EntryAction, ...]:
    """Return what turns one customer tag into another; each as `flow_key.customer_tag` has it."""
    if before == after:
        return ()
    if not after:
        return (PopVlan(),)
    return (SetField("vlan_vid", after),) if before else (PushVlan(after & 0xFFF),)


def _wire_name(name: str, key: FlowKey) -> str:
    if name not in ("l4_src", "l4_dst"):
        return name
    source, destination = PORT_FIELDS[FIELDS["ip_proto"].get(key)]
    return source if name == "l4_src" else destination

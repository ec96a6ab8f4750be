"""The actions by which an entry treats packets: edits, meters and copies in the order of the layers, then the exit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ryu_apps.model.flow_key import FlowKey, customer_tag
from ryu_apps.model.transposition import Transposition
from ryu_apps.model.treatment import ByChain, Copied, Exit, Metered, PastFunctions, ToTunnel, ToVport, Treatment
from ryu_apps.pipeline.editing import edit_actions, retag_actions
from ryu_apps.pipeline.entry import EntryAction, Resubmit, SetField
from ryu_apps.pipeline.registers import CHAIN, COPY, EXIT, EXIT_BY_TUNNEL, METER, SAID, SAID_BIT, VIA, VIA_NO_FUNCTION

_REMOTE: Final = {4: "tun_ipv4_dst", 6: "tun_ipv6_dst"}


def treated_actions(treatment: Treatment, edit: Transposition, key: FlowKey) -> Iterator[EntryAction]:
    """Yield what makes of packets with this key what the layers make of them one by one.

    edit is the composed edit, or none of it where the packet is denied in the end.
    """
    done: set[SetField] = set()
    tag = customer_tag(key)
    for step in treatment.steps:
        match step:
            case Metered(meter=meter):
                yield from meter_actions(meter)
            case Copied(vport=vport, edit=so_far):
                yield from _missing(so_far, key, done)
                before, tag = tag, customer_tag(so_far.apply(key))
                yield from retag_actions(before, tag)
                yield from (SetField(COPY, vport), Resubmit("mirror"))
    yield from _missing(edit, key, done)
    yield from retag_actions(tag, customer_tag(edit.apply(key)))
    yield from exit_actions(treatment)


def _missing(edit: Transposition, key: FlowKey, done: set[SetField]) -> Iterator[SetField]:
    """Yield the parts of an edit that are not made yet; a field that is set again is made again."""
    for action in edit_actions(edit, key):
        if action not in done:
            done -= {made for made in done if made.field == action.field}
            done.add(action)
            yield action


def meter_actions(meter: int) -> tuple[EntryAction, ...]:
    """Return what takes a packet through a meter of a rule."""
    return SetField(METER, meter), Resubmit("meter")


def exit_actions(treatment: Treatment) -> Iterator[SetField]:
    """Yield what tells the next tables how a packet goes on; nothing for delivery by MAC with the sender's priority."""
    if treatment.priority is not None:
        yield SetField(SAID, SAID_BIT | treatment.priority)
    match treatment.exit:
        case ToVport(vport=vport):
            yield SetField(VIA, vport)
        case ToTunnel(version=version, address=address, vni=vni):
            yield SetField("tunnel_id", vni)
            yield SetField(_REMOTE[version], address)
            yield SetField(EXIT, EXIT_BY_TUNNEL)
        case PastFunctions():
            yield SetField(VIA, VIA_NO_FUNCTION)
        case ByChain(mark=mark):
            yield SetField(CHAIN, mark)


def next_table(exit_: Exit | None, *, outbound: bool) -> str:
    """Return the table behind a cache for packets with this exit."""
    return "deliver" if outbound and not isinstance(exit_, ToTunnel) else "closing"

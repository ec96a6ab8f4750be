"""A packet that the controller sends on itself, treated as its entry would treat it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from ryu_apps.control.effects import Emit
from ryu_apps.control.events import PacketIn
from ryu_apps.engine.ruling import Verdict
from ryu_apps.model.flow_key import FlowKey
from ryu_apps.model.rules import Direction
from ryu_apps.model.transposition import Transposition
from ryu_apps.model.treatment import Copied, Metered, Treatment
from ryu_apps.pipeline.entry import EntryAction, Resubmit, SetField
from ryu_apps.pipeline.registers import COPY
from ryu_apps.pipeline.treated import exit_actions, meter_actions, next_table, treated_actions

# Where a packet goes on that was decided here: behind the cache that it missed in.
BEHIND: Final = {Direction.OUTBOUND: "deliver", Direction.INBOUND: "closing"}

_NOTHING = Treatment()


def send_on(event: PacketIn, direction: Direction, verdict: Verdict, key: FlowKey) -> Iterator[Emit]:
    """Yield a packet with this key as it goes on behind the cache that it missed in.

    The switch carries out the actions of the packet's entry; a denied packet passes its meters, has its copies sent,
    and goes no further.
    """
    treatment = verdict.treatment
    if treatment is None:
        if verdict.allow:
            edits = tuple(treated_actions(_NOTHING, verdict.edit, key)) if verdict.edit.edits else ()
            yield _emit(event, BEHIND[direction], event.frame, edits)
        return
    actions = tuple(treated_actions(treatment, verdict.edit, key))
    if verdict.allow:
        yield _emit(event, next_table(treatment.exit, outbound=direction is Direction.OUTBOUND), event.frame, actions)
        return
    for place in range(len(actions) - 1, -1, -1):
        aside = actions[place]
        if isinstance(aside, Resubmit):
            yield _emit(event, aside.table, event.frame, actions[:place])
            return


def send_as_entry(event: PacketIn) -> Emit:
    """Return a packet that goes through the cache that it missed in, where an entry is for it now."""
    return _emit(event, event.table, event.frame, ())


def send_edited(
    event: PacketIn, direction: Direction, verdict: Verdict, edited: Callable[[Transposition], bytes]
) -> Iterator[Emit]:
    """Yield the same for a packet that is edited here; edited returns its frame after an edit.

    The packet passes its meters, a denied one too; a copy does not, not even those of layers before the mirror, so as
    not to count twice.
    """
    treatment = verdict.treatment or _NOTHING
    meters: list[EntryAction] = []
    for step in treatment.steps:
        match step:
            case Copied(vport=vport, edit=edit):
                yield _emit(event, "mirror", edited(edit), (SetField(COPY, vport),))
            case Metered(meter=meter):
                meters += meter_actions(meter)
    if verdict.allow:
        table = next_table(treatment.exit, outbound=direction is Direction.OUTBOUND)
        yield _emit(event, table, edited(verdict.edit), (*meters, *exit_actions(treatment)))
    elif meters:
        yield _emit(event, "meter", event.frame, tuple(meters[:-1]))


def _emit(event: PacketIn, table: str, frame: bytes, actions: tuple[EntryAction, ...]) -> Emit:
    return Emit(event.dpid, table, event.in_port, event.segment, event.sender, event.receiver, frame, actions)

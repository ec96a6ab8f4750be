"""Flow entries as values, checked against the contract of their table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ryu_apps.pipeline.learning import Bits, FirstUp, Learn, Spread
from ryu_apps.pipeline.registers import SAID
from ryu_apps.pipeline.tables import BY_NAME

MatchValue = int | tuple[int, int]
Matches = tuple[tuple[str, MatchValue], ...]


@dataclass(frozen=True, slots=True)
class SetField:
    """Set a header field or a register."""

    field: str
    value: int


@dataclass(frozen=True, slots=True)
class PopVlan:
    """Take the outer VLAN tag off."""


@dataclass(frozen=True, slots=True)
class PushVlan:
    """Put an 802.1Q tag with this VLAN id on."""

    vid: int


@dataclass(frozen=True, slots=True)
class PriorityFromTag:
    """Take the priority that the outer tag says (PCP, IEEE 802.1Q-2018, section 9.6) for what a rule says."""


@dataclass(frozen=True, slots=True)
class PriorityToTag:
    """Write the packet's priority into the outer tag."""


@dataclass(frozen=True, slots=True)
class ChainToTag:
    """Write the mark of the packet's chain into the outer tag's priority bits."""


@dataclass(frozen=True, slots=True)
class Output:
    """Send out of a port; a packet leaves by the port that it came in by only where that is named IN_PORT."""

    port_no: int


@dataclass(frozen=True, slots=True)
class ToController:
    """Send the whole packet to the controller, if a meter lets it; the packet itself goes on in any case.

    meter is its number, 0 for none (Nicira extension NXAST_CONTROLLER2, property meter id).
    """

    meter: int = 0


@dataclass(frozen=True, slots=True)
class Resubmit:
    """Look the packet up in another table and come back (Nicira extension NXAST_RESUBMIT_TABLE)."""

    table: str


@dataclass(frozen=True, slots=True)
class FinTimeout:
    """Have the entry itself go soon after a TCP packet with FIN or RST: shorten its timeouts to these, in seconds.

    (Nicira extension NXAST_FIN_TIMEOUT.)
    """

    idle_s: int
    hard_s: int


EntryAction = (
    FinTimeout
    | SetField
    | PopVlan
    | PushVlan
    | PriorityFromTag
    | PriorityToTag
    | ChainToTag
    | Output
    | ToController
    | Resubmit
    | Learn
    | Spread
    | FirstUp
)
EntryKey = tuple[str, int, Matches]

MISS_PRIORITY: Final = 0

MOST_PORT_NO: Final = 0xFFFFFF00
"""OFPP_MAX: numbers above it are reserved, among them LOCAL, the switch's own port (OpenFlow 1.4.0, section 7.2.1)."""

IN_PORT: Final = 0xFFFFFFF8
"""OFPP_IN_PORT: the port that the packet came in by (OpenFlow 1.4.0, section 7.2.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowEntry:
    """One flow entry; no actions and no next table means drop. Timeouts in seconds, 0 for none.

    meter is the number of the meter that packets pass before anything else, 0 for none.
    """

    table: str
    priority: int
    match: Matches
    actions: tuple[EntryAction, ...] = ()
    goto: str | None = None
    cookie: int = 0
    idle_timeout_s: int = 0
    hard_timeout_s: int = 0
    meter: int = 0

    @property
    def key(self) -> EntryKey:
        """What a switch tells entries apart by."""
        return self.table, self.priority, self.match


class ContractBroken(AssertionError):
    """A compiled entry does what its table's line does not allow: a fault of ours."""


def entry(
    table: str,
    priority: int,
    match: dict[str, MatchValue],
    *actions: EntryAction,
    goto: str | None = None,
    cookie: int = 0,
    idle_timeout_s: int = 0,
    hard_timeout_s: int = 0,
    meter: int = 0,
) -> FlowEntry:
    """Return a flow entry; ContractBroken when its table does not allow it."""
    made = FlowEntry(
        table=table,
        priority=priority,
        match=tuple(sorted(match.items())),
        actions=actions,
        goto=goto,
        cookie=cookie,
        idle_timeout_s=idle_timeout_s,
        hard_timeout_s=hard_timeout_s,
        meter=meter,
    )
    check_contract(made)
    return made


def check_contract(made: FlowEntry) -> None:
    """Raise ContractBroken unless the entry keeps to its table's line in the table list."""
    table = BY_NAME[made.table]
    strange = {name for name, _ in made.match} - table.matches
    written = {_written(action) for action in made.actions} - {None}
    if made.meter:
        written.add("meter")
    next_tables = {action.table for action in made.actions if isinstance(action, Resubmit | Learn)}
    if made.goto is not None:
        next_tables.add(made.goto)
    for action in made.actions:
        if isinstance(action, Learn):
            learned = BY_NAME[action.table]
            strange |= {name for name, _ in action.match} - learned.matches
            targets = {name.register if isinstance(name, Bits) else name for name, _ in action.load}
            strange |= targets - learned.writes
    if strange or written - table.writes or next_tables - table.next:
        raise ContractBroken(f"{made} in table {table.name}")


def _written(action: EntryAction) -> str | None:
    match action:
        case SetField(field=name):
            return name
        case PopVlan() | PushVlan() | PriorityToTag() | ChainToTag():
            return "vlan"
        case PriorityFromTag():
            return SAID
        case Spread(to=to):
            return to.register
        case Output() | FirstUp():
            return "output"
        case _:
            return None

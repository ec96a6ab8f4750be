"""Flow entries as flow-mods, the general way: for any entry, and the plain twin of the templates."""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import Final

from ryu_apps.pipeline.cookie import CACHED, unpack
from ryu_apps.pipeline.entry import (
    ChainToTag,
    EntryAction,
    FinTimeout,
    FlowEntry,
    Matches,
    MatchValue,
    Output,
    PopVlan,
    PriorityFromTag,
    PriorityToTag,
    PushVlan,
    Resubmit,
    SetField,
    ToController,
)
from ryu_apps.pipeline.learning import FirstUp, Learn, Spread
from ryu_apps.pipeline.registers import CHAIN, PRIORITY, SAID, SAID_BIT
from ryu_apps.pipeline.tables import NUMBER
from ryu_apps.southbound import nicira
from ryu_apps.southbound.wire import (
    ADD,
    ANY,
    APPLY_ACTIONS,
    EXPERIMENTERS,
    FIELD_ORDER,
    GOTO_TABLE,
    MATCH_OXM,
    METER,
    NO_BUFFER,
    NXM_VLAN_TCI,
    OXM,
    SEND_FLOW_REM,
    VERSION,
    Type,
    fin_timeout,
    metered_to_controller,
    move,
    resubmit,
    set_field,
)

# Flow-mod (OpenFlow 1.4.0, section 7.3.4.1): header; cookie, cookie_mask, table_id, command, idle_timeout,
# hard_timeout, priority, buffer_id, out_port, out_group, flags, importance; then the header of the match.
_FLOW_MOD: Final = Struct("!BBHIQQBBHHHIIIHHHH")
_MATCH_AT: Final = 48
_GOTO: Final = Struct("!HHB3x")
_INSTRUCTION: Final = Struct("!HH4x")
_METER: Final = Struct("!HHI")

# Actions (OpenFlow 1.4.0, section 7.2.5): output with port and max_len; push and pop VLAN.
_OUTPUT: Final = Struct("!HHIH6x")
_PUSH_VLAN: Final = Struct("!HHH2x").pack(17, 8, 0x8100)
_POP_VLAN: Final = Struct("!HH4x").pack(18, 8)
_VLAN_PRESENT: Final = 0x1000
# The priority is the upper three bits of the tag's TCI, and the lower three of the registers.
_PCP: Final = (NXM_VLAN_TCI, 13)
_CHAIN_TO_TAG: Final = move(3, (OXM[CHAIN], 0), _PCP)
_PRIORITY_TO_TAG: Final = move(3, (OXM[PRIORITY], 0), _PCP)
_PRIORITY_FROM_TAG: Final = set_field(SAID, SAID_BIT) + move(3, _PCP, (OXM[SAID], 0))
_TO_CONTROLLER: Final = _OUTPUT.pack(0, 16, 0xFFFFFFFD, 0xFFFF)

_PLACE: Final = {name: place for place, name in enumerate(FIELD_ORDER)}
_HAS_MASK: Final = 0x100


def flow_mod(entry: FlowEntry, command: int = ADD, xid: int = 0) -> bytes:
    """Return the flow-mod that adds or removes an entry; cached and passing entries ask to be told of their removal."""
    adding = command == ADD
    match = encode_match(entry.match)
    instructions = encode_instructions(entry) if adding else b""
    match_bytes = 4 + len(match)
    padding = bytes(-match_bytes % 8)
    head = _FLOW_MOD.pack(
        VERSION, Type.FLOW_MOD, _MATCH_AT + match_bytes + len(padding) + len(instructions), xid,
        entry.cookie, 0, NUMBER[entry.table], command,
        entry.idle_timeout_s if adding else 0, entry.hard_timeout_s if adding else 0, entry.priority,
        NO_BUFFER, ANY, ANY, SEND_FLOW_REM if adding and _goes_by_itself(entry) else 0, 0, MATCH_OXM, match_bytes,
    )  # fmt: skip
    return b"".join((head, match, padding, instructions))


def _goes_by_itself(entry: FlowEntry) -> bool:
    cookie = unpack(entry.cookie)
    return cookie is not None and (cookie.entry_class in CACHED or bool(entry.hard_timeout_s))


def encode_match(fields: Matches) -> bytes:
    """Return a match's fields in the order of Open vSwitch, without the header and the padding."""
    return b"".join([_field(name, value) for name, value in sorted(fields, key=lambda pair: _PLACE[pair[0]])])


def _field(name: str, value: MatchValue) -> bytes:
    header = OXM[name]
    experimenter = EXPERIMENTERS.get(name, b"")
    width = (header & 0xFF) - len(experimenter)
    if isinstance(value, tuple):
        exact, mask = value
        payload = experimenter + (exact & mask).to_bytes(width, "big") + mask.to_bytes(width, "big")
        return (header + _HAS_MASK + width).to_bytes(4, "big") + payload
    return header.to_bytes(4, "big") + experimenter + value.to_bytes(width, "big")


def encode_instructions(entry: FlowEntry) -> bytes:
    """Return the instructions: meter, the actions at once, then the next table (OpenFlow 1.4.0, section 7.2.4)."""
    made = _METER.pack(METER, 8, entry.meter) if entry.meter else b""
    actions = encode_actions(entry.actions)
    if actions:
        made += _INSTRUCTION.pack(APPLY_ACTIONS, _INSTRUCTION.size + len(actions)) + actions
    return made if entry.goto is None else made + _GOTO.pack(GOTO_TABLE, 8, NUMBER[entry.goto])


def encode_actions(actions: Iterable[EntryAction]) -> bytes:
    """Return actions as they stand in an instruction or a packet-out."""
    return b"".join(map(_action, actions))


def _action(action: EntryAction) -> bytes:
    match action:
        case SetField(field=name, value=value):
            return set_field(name, value)
        case PopVlan():
            return _POP_VLAN
        case PushVlan(vid=vid):
            return _PUSH_VLAN + set_field("vlan_vid", _VLAN_PRESENT | vid)
        case PriorityFromTag():
            return _PRIORITY_FROM_TAG
        case PriorityToTag():
            return _PRIORITY_TO_TAG
        case ChainToTag():
            return _CHAIN_TO_TAG
        case Output(port_no=port_no):
            return _OUTPUT.pack(0, 16, port_no, 0)
        case ToController(meter=meter):
            return metered_to_controller(meter) if meter else _TO_CONTROLLER
        case Resubmit(table=table):
            return resubmit(table)
        case FinTimeout(idle_s=idle_s, hard_s=hard_s):
            return fin_timeout(idle_s, hard_s)
        case Learn():
            return nicira.learn(action)
        case Spread():
            return nicira.spread(action)
        case FirstUp():
            return nicira.first_up(action)

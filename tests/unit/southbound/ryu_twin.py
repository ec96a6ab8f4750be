"""Flow entries as Ryu's messages, for comparing our encoding with Ryu's."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from ryu.ofproto import ofproto_v1_4 as ofp
from ryu.ofproto import ofproto_v1_4_parser as parser
from ryu.ofproto.ofproto_protocol import ProtocolDesc

from ryu_apps.model.address import format_ipv4, format_ipv6, format_mac
from ryu_apps.pipeline.cookie import CACHED, unpack
from ryu_apps.pipeline.entry import (
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
from ryu_apps.pipeline.tables import NUMBER
from ryu_apps.southbound.wire import ADD, FIELD_ORDER, VERSION

_PLACE: Final = {name: place for place, name in enumerate(FIELD_ORDER)}
_TEXT: Final = {
    **dict.fromkeys(("eth_dst", "eth_src", "arp_sha", "arp_tha", "ipv6_nd_sll", "ipv6_nd_tll"), format_mac),
    **dict.fromkeys(("ipv4_src", "ipv4_dst", "arp_spa", "arp_tpa", "tun_ipv4_dst"), format_ipv4),
    **dict.fromkeys(("ipv6_src", "ipv6_dst", "ipv6_nd_target"), format_ipv6),
}
_MAX_LEN_ALL: Final = ofp.OFPCML_NO_BUFFER


def flow_mod(datapath: Any, entry: FlowEntry, command: int = ADD) -> Any:
    """Return Ryu's flow-mod for an entry; cached and passing entries ask to be told of their removal."""
    cookie = unpack(entry.cookie)
    cached = cookie is not None and (cookie.entry_class in CACHED or entry.hard_timeout_s > 0)
    adding = command == ADD
    return parser.OFPFlowMod(
        datapath,
        cookie=entry.cookie,
        table_id=NUMBER[entry.table],
        command=command,
        idle_timeout=entry.idle_timeout_s if adding else 0,
        hard_timeout=entry.hard_timeout_s if adding else 0,
        priority=entry.priority,
        buffer_id=ofp.OFP_NO_BUFFER,
        out_port=ofp.OFPP_ANY,
        out_group=ofp.OFPG_ANY,
        flags=ofp.OFPFF_SEND_FLOW_REM if cached and adding else 0,
        match=match_of(entry.match),
        instructions=instructions_of(entry) if adding else [],
    )


def match_of(fields: Matches) -> Any:
    """Return Ryu's match with the fields in the order of the wire.

    Ryu's own order puts Nicira's fields first, where Open vSwitch refuses ip_frag for want of its prerequisite.
    """
    ordered = sorted(fields, key=lambda pair: _PLACE[pair[0]])
    return parser.OFPMatch(_ordered_fields=[(name, _user_value(name, value)) for name, value in ordered])


def instructions_of(entry: FlowEntry) -> list[Any]:
    """Return Ryu's instructions: the actions at once, then the next table."""
    made: list[Any] = [parser.OFPInstructionMeter(entry.meter)] if entry.meter else []
    if entry.actions:
        actions = [each for action in entry.actions for each in _actions(action)]
        made.append(parser.OFPInstructionActions(ofp.OFPIT_APPLY_ACTIONS, actions))
    if entry.goto is not None:
        made.append(parser.OFPInstructionGotoTable(NUMBER[entry.goto]))
    return made


def _actions(action: EntryAction) -> list[Any]:
    match action:
        case SetField(field=name, value=value):
            return [parser.OFPActionSetField(**{name: _user_value(name, value)})]
        case PopVlan():
            return [parser.OFPActionPopVlan()]
        case PushVlan(vid=vid):
            tag = parser.OFPActionSetField(vlan_vid=ofp.OFPVID_PRESENT | vid)
            return [parser.OFPActionPushVlan(0x8100), tag]
        case PriorityFromTag():
            said = parser.OFPActionSetField(reg7=8)
            return [said, parser.NXActionRegMove("vlan_tci", "reg7", 3, src_ofs=13)]
        case PriorityToTag():
            return [parser.NXActionRegMove("reg8", "vlan_tci", 3, dst_ofs=13)]
        case Output(port_no=port_no):
            return [parser.OFPActionOutput(port_no, 0)]
        case ToController():
            return [parser.OFPActionOutput(ofp.OFPP_CONTROLLER, _MAX_LEN_ALL)]
        case Resubmit(table=table):
            return [parser.NXActionResubmitTable(table_id=NUMBER[table])]
        case FinTimeout(idle_s=idle_s, hard_s=hard_s):
            return [parser.NXActionFinTimeout(idle_s, hard_s)]


def _user_value(name: str, value: MatchValue) -> Any:
    text: Any = _TEXT.get(name, int)
    return (text(value[0]), text(value[1])) if isinstance(value, tuple) else text(value)


@lru_cache(maxsize=1)
def _nowhere() -> ProtocolDesc:
    """Return a stand-in for the datapath that Ryu wants for serializing."""
    return ProtocolDesc(VERSION)


def flow_mod_bytes(entry: FlowEntry, command: int = ADD, xid: int = 0) -> bytes:
    """Return the flow-mod's bytes as Ryu's serializer writes them."""
    message = flow_mod(_nowhere(), entry, command)
    message.set_xid(xid)
    message.serialize()
    return bytes(message.buf)


def parse(message: bytes) -> Any:
    """Return Ryu's object for a message."""
    xid = int.from_bytes(message[4:8], "big")
    return parser.msg_parser(_nowhere(), message[0], message[1], len(message), xid, bytearray(message))

"""Numbers and layouts of OpenFlow 1.4 that the fast paths pack and unpack by themselves."""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import Final

from ryu_apps.pipeline.tables import NUMBER

VERSION: Final = 5
NO_BUFFER: Final = 0xFFFFFFFF
ANY: Final = 0xFFFFFFFF

HEADER: Final = Struct("!BBHI")
"""version, type, length, xid (OpenFlow 1.4.0, section 7.1.1)."""

HEADER_BYTES: Final = 8


class Type(IntEnum):
    """Message types (OpenFlow 1.4.0, section 7.1.1)."""

    HELLO = 0
    ERROR = 1
    ECHO_REQUEST = 2
    ECHO_REPLY = 3
    EXPERIMENTER = 4
    FEATURES_REPLY = 6
    GET_CONFIG_REPLY = 8
    SET_CONFIG = 9
    PACKET_IN = 10
    FLOW_REMOVED = 11
    PORT_STATUS = 12
    PACKET_OUT = 13
    FLOW_MOD = 14
    MULTIPART_REQUEST = 18
    MULTIPART_REPLY = 19
    BARRIER_REQUEST = 20
    BARRIER_REPLY = 21
    ROLE_REPLY = 25
    GET_ASYNC_REPLY = 27
    METER_MOD = 29
    ROLE_STATUS = 30
    TABLE_STATUS = 31
    REQUESTFORWARD = 32
    BUNDLE_CONTROL = 33
    BUNDLE_ADD_MESSAGE = 34


ADD: Final = 0
DELETE_STRICT: Final = 4
"""Flow-mod commands (OpenFlow 1.4.0, section 7.3.4.1)."""

SEND_FLOW_REM: Final = 1
"""Flow-mod flag: tell when the entry goes (OpenFlow 1.4.0, section 7.3.4.1)."""

MATCH_OXM: Final = 1
"""The only match type (OpenFlow 1.4.0, section 7.2.3.1)."""

GOTO_TABLE: Final = 1
APPLY_ACTIONS: Final = 4
METER: Final = 6
"""Instruction types (OpenFlow 1.4.0, section 7.2.4)."""

SET_FIELD: Final = 25
"""Action type (OpenFlow 1.4.0, section 7.2.5)."""

# Nicira's resubmit to a table: experimenter action 0xffff, vendor 0x2320, subtype 14, in_port unchanged (0xfff8).
_RESUBMIT: Final = Struct("!HHIHHB3x")


def resubmit(table: str) -> bytes:
    """Return the action that looks the packet up in a table and comes back (Open vSwitch, NXAST_RESUBMIT_TABLE)."""
    return _RESUBMIT.pack(0xFFFF, 16, 0x2320, 14, 0xFFF8, NUMBER[table])


# Nicira's timeouts after a FIN or RST: experimenter action 0xffff, vendor 0x2320, subtype 19.
_FIN_TIMEOUT: Final = Struct("!HHIHHH2x")


def fin_timeout(idle_s: int, hard_s: int) -> bytes:
    """Return the action that shortens its entry's timeouts after a FIN or RST (Open vSwitch, NXAST_FIN_TIMEOUT)."""
    return _FIN_TIMEOUT.pack(0xFFFF, 16, 0x2320, 19, idle_s, hard_s)


# Nicira's output to controllers: experimenter action 0xffff, vendor 0x2320, subtype 37; then properties, here 5, the
# meter's id. What is left out has its default: the whole packet, reason "action".
_METERED: Final = Struct("!HHIH6xHHI")


def metered_to_controller(meter: int) -> bytes:
    """Return the action that sends a packet up within a meter (Open vSwitch, NXAST_CONTROLLER2)."""
    return _METERED.pack(0xFFFF, _METERED.size, 0x2320, 37, 5, 8, meter)


# Nicira's copy of bits: experimenter action 0xffff, vendor 0x2320, subtype 6, number of bits, first bit of source and
# of destination, header of source and of destination.
_MOVE: Final = Struct("!HHIHHHHII")
NXM_VLAN_TCI: Final = 0x00000802
"""Nicira's field for the whole of the outer tag's TCI (Open vSwitch, meta-flow.h)."""


def move(bits: int, source: tuple[int, int], target: tuple[int, int]) -> bytes:
    """Return the action that copies bits from one field to another, each given by header and first bit."""
    return _MOVE.pack(0xFFFF, 24, 0x2320, 6, bits, source[1], target[1], source[0], target[0])


# The header of an OXM field: class, field and "has mask" bit, payload length (OpenFlow 1.4.0, section 7.2.3.2).
# ip_frag and the registers and tunnel addresses are Nicira's (Open vSwitch, meta-flow.h).
OXM: Final = {
    "in_port": 0x80000004,
    "nxm_in_port": 0x00000002,
    "eth_dst": 0x80000606,
    "eth_src": 0x80000806,
    "eth_type": 0x80000A02,
    "vlan_vid": 0x80000C02,
    "vlan_pcp": 0x80000E01,
    "ip_dscp": 0x80001001,
    "ip_proto": 0x80001401,
    "ipv4_src": 0x80001604,
    "ipv4_dst": 0x80001804,
    "tcp_src": 0x80001A02,
    "tcp_dst": 0x80001C02,
    "udp_src": 0x80001E02,
    "udp_dst": 0x80002002,
    "sctp_src": 0x80002202,
    "sctp_dst": 0x80002402,
    "icmpv4_type": 0x80002601,
    "icmpv4_code": 0x80002801,
    "arp_op": 0x80002A02,
    "arp_spa": 0x80002C04,
    "arp_tpa": 0x80002E04,
    "arp_sha": 0x80003006,
    "arp_tha": 0x80003206,
    "ipv6_src": 0x80003410,
    "ipv6_dst": 0x80003610,
    "icmpv6_type": 0x80003A01,
    "icmpv6_code": 0x80003C01,
    "ipv6_nd_target": 0x80003E10,
    "ipv6_nd_sll": 0x80004006,
    "ipv6_nd_tll": 0x80004206,
    "reg0": 0x00010004,
    "reg1": 0x00010204,
    "reg2": 0x00010404,
    "reg3": 0x00010604,
    "reg4": 0x00010804,
    "reg5": 0x00010A04,
    "reg6": 0x00010C04,
    "reg7": 0x00010E04,
    "reg8": 0x00011004,
    "reg9": 0x00011204,
    "reg10": 0x00011404,
    "reg11": 0x00011604,
    "reg12": 0x00011804,
    "reg15": 0x00011E04,
    "tunnel_id": 0x80004C08,
    "tun_ipv4_dst": 0x00014004,
    "tun_ipv6_dst": 0x0001DC10,
    "ip_frag": 0x00013401,
    # An experimenter's field (ONF extension EXT-109, before OpenFlow 1.5 took it up): the payload begins with its id.
    "tcp_flags": 0xFFFF5406,
}
EXPERIMENTERS: Final = {"tcp_flags": bytes.fromhex("4f4e4600")}

# Open vSwitch writes the fields of a match in this order; sent in the same one, entries read back byte for byte.
# It also has every field after its prerequisites, as OpenFlow 1.4.0, section 7.2.3.6 asks for.
FIELD_ORDER: Final = (
    "in_port", "tunnel_id", "eth_src", "eth_dst", "eth_type", "vlan_vid", "vlan_pcp",
    "ipv4_src", "ipv4_dst", "ipv6_src", "ipv6_dst", "ip_frag", "ip_dscp", "ip_proto",
    "tcp_src", "tcp_dst", "tcp_flags", "udp_src", "udp_dst", "sctp_src", "sctp_dst",
    "icmpv4_type", "icmpv4_code", "icmpv6_type", "icmpv6_code",
    "ipv6_nd_target", "ipv6_nd_sll", "ipv6_nd_tll",
    "arp_op", "arp_spa", "arp_tpa", "arp_sha", "arp_tha",
    "reg0", "reg1", "reg2", "reg3", "reg4", "reg5", "reg6", "reg7",
    "reg8", "reg9", "reg10", "reg11", "reg12", "reg15",
)  # fmt: skip


def oxm(name: str) -> bytes:
    """Return the header bytes of an exact field."""
    return OXM[name].to_bytes(4, "big")


def set_field(name: str, value: int) -> bytes:
    """Return a set-field action, padded to 8 bytes (OpenFlow 1.4.0, section 7.2.5)."""
    width = OXM[name] & 0xFF
    length = (8 + width + 7) // 8 * 8
    action = SET_FIELD.to_bytes(2, "big") + length.to_bytes(2, "big") + oxm(name) + value.to_bytes(width, "big")
    return action.ljust(length, b"\0")

"""Bytes of Nicira's actions by which a switch writes entries and chooses ports by itself (ovs-actions(7)).

Sent as Open vSwitch writes them, so that entries read back byte for byte.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from ryu_apps.pipeline.learning import Bits, FirstUp, Learn, Source, Spread, Target
from ryu_apps.pipeline.tables import NUMBER
from ryu_apps.southbound.wire import OXM

_EXPERIMENTER: Final = 0xFFFF
_NICIRA: Final = 0x2320

# NXAST_LEARN: type, length, vendor, subtype 16, idle and hard timeout, priority, cookie, flags, table, padding,
# fin_idle and fin_hard timeout; then the parts.
_LEARN: Final = Struct("!HHIHHHHQHBxHH")
_DELETE_LEARNED: Final = 2
_MATCH, _LOAD = 0, 1
_IMMEDIATE: Final = 1 << 13
_PART: Final = Struct("!H")
_FIELD: Final = Struct("!IH")

# Inside these actions Open vSwitch calls fields by Nicira's numbers where there are such (meta-flow.h).
_NXM: Final = {
    "eth_dst": 0x00000206, "eth_src": 0x00000406, "eth_type": 0x00000602, "ip_proto": 0x00000C01,
    "ipv4_src": 0x00000E04, "ipv4_dst": 0x00001004, "ipv6_src": 0x00012610, "ipv6_dst": 0x00012810,
    "tcp_src": 0x00001202, "tcp_dst": 0x00001402, "udp_src": 0x00001602, "udp_dst": 0x00001802,
}  # fmt: skip

# NXAST_BUNDLE and NXAST_BUNDLE_LOAD: type, length, vendor, subtype, algorithm, fields, basis, type of members
# (NXM_OF_IN_PORT), number of members, bits and first bit of the destination, destination, padding; then the ports.
_BUNDLE: Final = Struct("!HHIHHHHIHHI4x")
_BUNDLE_OUTPUT, _BUNDLE_LOAD = 12, 13
_ACTIVE_BACKUP, _HIGHEST_RANDOM_WEIGHT = 0, 1
_BY_ETH_SRC, _BY_CONNECTION = 0, 3
_PORTS: Final = 0x00000002


def learn(action: Learn) -> bytes:
    """Return the action that writes an entry."""
    parts = b"".join(_part(_MATCH, name, source) for name, source in action.match)
    parts += b"".join(_part(_LOAD, name, source) for name, source in action.load)
    length = (_LEARN.size + len(parts) + 7) // 8 * 8
    head = _LEARN.pack(
        _EXPERIMENTER, length, _NICIRA, 16, action.idle_timeout_s, 0, action.priority, action.cookie,
        _DELETE_LEARNED, NUMBER[action.table], action.fin_idle_s, 0,
    )  # fmt: skip
    return (head + parts).ljust(length, b"\0")


def _part(use: int, name: Target, source: Source) -> bytes:
    """Return one part of an entry to be written: what it matches, or what it sets."""
    target = _bits(name)
    kind = use << 11 | target.width
    if not isinstance(source, int):
        return _PART.pack(kind) + _place(_bits(source)) + _place(target)
    width = (target.width + 15) // 16 * 2
    return _PART.pack(kind | _IMMEDIATE) + source.to_bytes(width, "big") + _place(target)


def _place(bits: Bits) -> bytes:
    return _FIELD.pack(_NXM.get(bits.register, OXM[bits.register]), bits.first)


def _bits(name: Target) -> Bits:
    return name if isinstance(name, Bits) else Bits(name, 0, (OXM[name] & 0xFF) * 8)


def spread(action: Spread) -> bytes:
    """Return the action that chooses a port for a connection and puts its number where it is told to."""
    # Open vSwitch writes bits as the first of them and their number less one (ofs_nbits).
    bits = action.to.first << 6 | action.to.width - 1
    return _bundle(_BUNDLE_LOAD, _HIGHEST_RANDOM_WEIGHT, _BY_CONNECTION, action.members, bits, OXM[action.to.register])


def first_up(action: FirstUp) -> bytes:
    """Return the action that sends out of the first port whose link is up."""
    return _bundle(_BUNDLE_OUTPUT, _ACTIVE_BACKUP, _BY_ETH_SRC, action.members, 0, 0)


def _bundle(subtype: int, algorithm: int, fields: int, members: tuple[int, ...], bits: int, target: int) -> bytes:
    ports = b"".join(port_no.to_bytes(2, "big") for port_no in members)
    length = (_BUNDLE.size + len(ports) + 7) // 8 * 8
    head = _BUNDLE.pack(
        _EXPERIMENTER, length, _NICIRA, subtype, algorithm, fields, 0, _PORTS, len(members), bits, target
    )
    return (head + ports).ljust(length, b"\0")

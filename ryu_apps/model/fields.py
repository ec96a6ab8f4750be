"""Match fields: their names, where they stand in a key, and how their values read and print.

Names are OpenFlow's (OpenFlow 1.4.0, section 7.2.3.7), with l4_src and l4_dst for the ports of TCP, UDP and SCTP.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from ryu_apps.model import address
from ryu_apps.model.flow_key import VLAN_PRESENT, Family, FlowKey

_NUMBER: Final = re.compile("[0-9]{1,10}|0[xX][0-9a-fA-F]{1,8}")
_PROTO_NAMES: Final = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58, "sctp": 132}
_ETH_NAMES: Final = {"ipv4": 0x0800, "arp": 0x0806, "ipv6": 0x86DD}


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One match field: width in bits and its lowest bit in the key of each family that has it."""

    name: str
    width: int
    shifts: Mapping[Family, int]
    parse: Callable[[str], tuple[int, int]]
    format: Callable[[int], str]
    settable: bool = False
    ranged: bool = False

    @property
    def full(self) -> int:
        """The mask of an exact value."""
        return (1 << self.width) - 1

    def get(self, key: FlowKey) -> int:
        """Return this field of a key; KeyError when the key's family has no such field."""
        return key.bits >> self.shifts[key.family] & self.full


def _number(width: int, names: Mapping[str, int] = MappingProxyType({})) -> Callable[[str], tuple[int, int]]:
    full = (1 << width) - 1

    def parse(text: str) -> tuple[int, int]:
        if text.lower() in names:
            return names[text.lower()], full
        if not _NUMBER.fullmatch(text):
            expected = f" or one of {', '.join(names)}" if names else ""
            raise ValueError(f"{text!r} is not a number from 0 to {full}{expected}")
        value = int(text, 16 if text[:2].lower() == "0x" else 10)
        if not 0 <= value <= full:
            raise ValueError(f"{value} is not in the range 0 to {full}")
        return value, full

    return parse


def _named(names: Mapping[str, int], fallback: Callable[[int], str] = str) -> Callable[[int], str]:
    reverse = {number: name for name, number in names.items()}
    return lambda value: reverse.get(value) or fallback(value)


def _mac(text: str) -> tuple[int, int]:
    value, slash, mask = text.partition("/")
    bits = address.parse_mac(mask) if slash else address.BROADCAST_MAC
    mac = address.parse_mac(value)
    if mac & ~bits:
        raise ValueError(f"{text!r} has bits set outside its mask")
    return mac, bits


def _vlan(text: str) -> tuple[int, int]:
    if text.lower() == "none":
        return 0, 0x1FFF
    value, _ = _number(12)(text)
    return value | VLAN_PRESENT, 0x1FFF


def _prefix(version: int) -> Callable[[str], tuple[int, int]]:
    return lambda text: address.parse_prefix(text, version)


def _at(width: int, shifts: Mapping[Family, int], name: str, **rest: object) -> Field:
    parse = rest.pop("parse", None) or _number(width)
    show = rest.pop("format", None) or str
    if Family.IPV6 in shifts:
        shifts = {**shifts, Family.ND: shifts[Family.IPV6]}
    return Field(name=name, width=width, shifts=MappingProxyType(dict(shifts)), parse=parse, format=show, **rest)  # type: ignore[arg-type]


_L, _4, _6, _A = Family.LINK, Family.IPV4, Family.IPV6, Family.ARP
_LINK_BASE: Final = {_L: 0, _4: 112, _6: 304, _A: 112}


def _link(offset: int) -> dict[Family, int]:
    return {family: base + offset for family, base in _LINK_BASE.items()}


_ALL: Final = (
    _at(48, _link(80), "eth_dst", parse=_mac, format=address.format_mac, settable=True),
    _at(48, _link(32), "eth_src", parse=_mac, format=address.format_mac, settable=True),
    _at(16, _link(16), "vlan_vid", parse=_vlan, format=lambda v: str(v & 0xFFF) if v else "none"),
    _at(16, _link(0), "eth_type", parse=_number(16, _ETH_NAMES), format=_named(_ETH_NAMES, lambda v: f"0x{v:04x}")),
    _at(8, {_4: 104, _6: 296}, "ip_proto", parse=_number(8, _PROTO_NAMES), format=_named(_PROTO_NAMES)),
    _at(6, {_4: 96, _6: 288}, "ip_dscp", settable=True),
    _at(32, {_4: 64}, "ipv4_src", parse=_prefix(4), format=address.format_ipv4, settable=True),
    _at(32, {_4: 32}, "ipv4_dst", parse=_prefix(4), format=address.format_ipv4, settable=True),
    _at(128, {_6: 160}, "ipv6_src", parse=_prefix(6), format=address.format_ipv6, settable=True),
    _at(128, {_6: 32}, "ipv6_dst", parse=_prefix(6), format=address.format_ipv6, settable=True),
    _at(16, {_4: 16, _6: 16}, "l4_src", settable=True, ranged=True),
    _at(16, {_4: 0, _6: 0}, "l4_dst", settable=True, ranged=True),
    _at(8, {_4: 16}, "icmpv4_type"),
    _at(8, {_4: 0}, "icmpv4_code"),
    _at(8, {_6: 16}, "icmpv6_type"),
    _at(8, {_6: 0}, "icmpv6_code"),
    _at(8, {_A: 104}, "arp_op", parse=_number(8, {"request": 1, "reply": 2})),
    _at(32, {_A: 64}, "arp_spa", parse=_prefix(4), format=address.format_ipv4),
    _at(32, {_A: 32}, "arp_tpa", parse=_prefix(4), format=address.format_ipv4),
)

FIELDS: Final[Mapping[str, Field]] = MappingProxyType({field.name: field for field in _ALL})
_STATIONS: Final = ("eth_dst", "eth_src")
SETTABLE: Final = tuple(field.name for field in _ALL if field.settable)


def parse_range(field: Field, text: str) -> tuple[int, int]:
    """Return the inclusive bounds of `1000-2000` or of a single value; ValueError when empty or out of range."""
    low_text, dash, high_text = (part.strip() for part in text.partition("-"))
    if not low_text or (dash and not high_text):
        raise ValueError(f"{text!r} is not a number from 0 to {field.full} and no range of such, as 1000-2000")
    low = field.parse(low_text)[0]
    high = field.parse(high_text)[0] if dash else low
    if low > high:
        raise ValueError(f"{text!r} is an empty range")
    return low, high


def parse_exact(field: Field, text: str) -> int:
    """Return the one value that the text gives the field; ValueError for a prefix, a mask or a range."""
    value, mask = field.parse(text)
    if mask != field.full and field.name != "vlan_vid":
        raise ValueError(f"{text!r} is not one value")
    return value


def parse_edit(field: Field, text: str) -> int:
    """Return the one value that a rule sets the field to; ValueError as of `parse_exact`, and for a MAC of no station.

    No frame comes from a group or from nobody (IEEE 802-2014 section 8).
    Nor does one go to a group by a rule: what is for many is decided packet by packet,
    so a connection made into such would never leave the controller.
    """
    return address.parse_unicast_mac(text) if field.name in _STATIONS else parse_exact(field, text)


def describe(key: FlowKey) -> dict[str, str]:
    """Return a key's fields as readable text by OpenFlow name; an absent VLAN tag is left out."""
    proto = FIELDS["ip_proto"].get(key) if key.family not in (_L, _A) else None
    shown: dict[str, str] = {}
    for field in _ALL:
        if key.family not in field.shifts or not _applies(field.name, proto):
            continue
        value = field.get(key)
        if field.name == "vlan_vid" and not value:
            continue
        shown[field.name] = field.format(value)
    return shown


def _applies(name: str, proto: int | None) -> bool:
    if name in ("l4_src", "l4_dst"):
        return proto in (6, 17, 132)
    if name.startswith("icmpv4"):
        return proto == 1
    if name.startswith("icmpv6"):
        return proto == 58
    return True

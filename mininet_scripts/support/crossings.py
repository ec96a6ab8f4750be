"""By which port a packet leaves a switch, found in a dump of its entries alone, those that it has learned included."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network
from typing import Final

from mininet_scripts.support.flow_dump import FlowEntry

_MOST_TABLES: Final = 64  # as many as Open vSwitch itself follows
_SET: Final = re.compile(r"(?:set_field|load):(?P<value>[^-]+)->(?P<field>.+)")
_REGISTER: Final = re.compile(r"(?:NXM_NX_)?REG(\d+)(?:\[.*\])?", re.IGNORECASE)
_MEMBERS: Final = re.compile(r"members:([^)]*)\)")
_MARK: Final = "move:NXM_NX_REG10[0..2]->NXM_OF_VLAN_TCI[13..15]"
_PRESENT: Final = 0x1000  # OpenFlow's bit of vlan_vid that says that there is a tag
_WORDS: Final = frozenset({"ip", "tcp"})


@dataclass(frozen=True, kw_only=True)
class Packet:
    """A TCP segment over IPv4 on its way: its fields by ovs-ofctl's names, its tag, and what registers hold."""

    fields: Mapping[str, str]
    vlan: int | None = None
    pcp: int = 0
    registers: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Exit:
    """The port by which a packet leaves, and the packet as it is then."""

    port: str
    packet: Packet


def leave(entries: Sequence[FlowEntry], in_port: str, packet: Packet) -> Exit | None:
    """Return how a packet for one station leaves a switch that has these entries, None where it does not.

    Of a bundle of ports it takes the first: all links are taken for up.
    """
    return _Walk(entries, in_port).table(0, replace(packet, registers={}), "", 0)


class _Walk:
    """The tables of one dump, and the port that a packet came in by."""

    def __init__(self, entries: Sequence[FlowEntry], in_port: str) -> None:
        self._in_port = in_port
        self._tables: dict[int, list[FlowEntry]] = {}
        for entry in sorted(entries, key=lambda entry: -entry.priority):
            self._tables.setdefault(entry.table, []).append(entry)

    def table(self, number: int, packet: Packet, then: str, depth: int) -> Exit | None:
        """Return how a packet leaves by a table and the actions that follow it."""
        if depth == _MOST_TABLES:
            return None
        for entry in self._tables.get(number, ()):
            if all(self._fits(packet, *each) for each in entry.matches.items()):
                return self._act(f"{entry.actions},{then}" if then else entry.actions, packet, depth)
        return self._act(then, packet, depth) if then else None

    def _act(self, actions: str, packet: Packet, depth: int) -> Exit | None:
        words = split(actions)
        for place, word in enumerate(words):
            if word.startswith("output:"):
                return Exit(_bare(word.partition(":")[2]), packet)
            if word.startswith("bundle("):
                return Exit(members(word)[0], packet)
            if word.startswith(("goto_table:", "resubmit(")):
                # A resubmit comes back, with all that it has changed.
                return self.table(int(re.findall(r"\d+", word)[-1]), packet, ",".join(words[place + 1 :]), depth + 1)
            packet = _changed(packet, word)
        return None

    def _fits(self, packet: Packet, name: str, value: str) -> bool:
        """Return whether a packet has a field of a match."""
        wanted, _, mask = value.partition("/")
        if name == "in_port":
            return _bare(value) == self._in_port
        if name.startswith("reg"):
            return not (packet.registers.get(name, 0) ^ int(wanted, 0)) & int(mask or "-1", 0)
        if name == "vlan_tci":
            tci = 0 if packet.vlan is None else packet.pcp << 13 | _PRESENT | packet.vlan
            return not (tci ^ int(wanted, 0)) & int(mask or "-1", 0)
        if name in ("dl_vlan", "dl_vlan_pcp"):
            return packet.vlan is not None and int(value, 0) == (packet.vlan if name == "dl_vlan" else packet.pcp)
        if not value:
            return name in _WORDS
        has = packet.fields.get(name)
        if has is None or not mask:
            return has == value
        if name.startswith("nw"):
            return ip_address(has) in ip_network(value)
        return not (_number(has) ^ _number(wanted)) & _number(mask)


def _changed(packet: Packet, word: str) -> Packet:
    """Return a packet after an action that changes it or its registers."""
    if word == "pop_vlan":
        return replace(packet, vlan=None, pcp=0)
    if word == _MARK:
        return replace(packet, pcp=packet.registers.get("reg10", 0) & 7)
    found = _SET.fullmatch(word)
    if found is None:
        return packet
    register = _REGISTER.fullmatch(found["field"])
    if register is not None:
        return replace(packet, registers={**packet.registers, f"reg{register[1]}": int(found["value"], 0)})
    if found["field"] == "vlan_vid":
        return replace(packet, vlan=int(found["value"], 0) & ~_PRESENT)
    return packet


def split(actions: str) -> list[str]:
    """Return the actions of a line, each in one piece with what stands in its brackets."""
    found, depth, begin = [], 0, 0
    for place, letter in enumerate(actions):
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            found.append(actions[begin:place])
            begin = place + 1
    return [word for word in (*found, actions[begin:]) if word]


def members(bundle: str) -> list[str]:
    """Return the ports of a bundle action."""
    found = _MEMBERS.search(bundle)
    return [_bare(name) for name in found[1].split(",")] if found else []


def _bare(name: str) -> str:
    return name.strip('"')


def _number(text: str) -> int:
    """Return a MAC address, or a number in any notation, as a number."""
    return int(text.replace(":", ""), 16) if ":" in text else int(text, 0)

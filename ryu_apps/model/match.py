"""The condition of a rule: which flow keys it matches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ryu_apps.model.errors import FieldError, Invalid
from ryu_apps.model.fields import FIELDS, parse_range
from ryu_apps.model.flow_key import ND_TYPES, PROTO_ICMPV6, PROTOS_WITH_PORTS, Family, FlowKey

FULL_RANGE: Final = (0, 0xFFFF)

_ETH_OF_FAMILY: Final = {Family.IPV4: 0x0800, Family.IPV6: 0x86DD, Family.ND: 0x86DD, Family.ARP: 0x0806}


@dataclass(frozen=True, slots=True)
class Condition:
    """A match in one family: masked key bits and two inclusive port ranges."""

    mask: int
    value: int
    l4_src: tuple[int, int] = FULL_RANGE
    l4_dst: tuple[int, int] = FULL_RANGE

    def matches(self, bits: int) -> bool:
        """Return whether the key bits meet the condition."""
        return (
            bits & self.mask == self.value
            and self.l4_src[0] <= bits >> 16 & 0xFFFF <= self.l4_src[1]
            and self.l4_dst[0] <= bits & 0xFFFF <= self.l4_dst[1]
        )


@dataclass(frozen=True, slots=True)
class Match:
    """A condition as written (field name to text, sorted) and as compiled per family."""

    text: tuple[tuple[str, str], ...]
    conditions: tuple[tuple[Family, Condition], ...]

    def matches(self, key: FlowKey) -> bool:
        """Return whether the key meets the condition; a family it does not name never does."""
        return any(family is key.family and condition.matches(key.bits) for family, condition in self.conditions)

    @property
    def ip_proto(self) -> int | None:
        """The one protocol of all packets that meet the condition, None when they may be of several or of none."""
        family, condition = self.conditions[0]
        shift = FIELDS["ip_proto"].shifts.get(family)
        if shift is None or not condition.mask >> shift & 0xFF:
            return None
        return condition.value >> shift & 0xFF

    def uses(self, name: str) -> bool:
        """Return whether the condition names the field."""
        return any(field == name for field, _ in self.text)


def parse_match(written: Mapping[str, str], path: str = "match") -> Match:
    """Return the compiled match; Invalid names every field that is unknown, wrong or contradictory.

    A match that does not name ARP matches no ARP, and one that names no ICMPv6 type matches no neighbour discovery:
    the guard answers for both, so that a default of deny does not cut the neighbour protocols.
    """
    faults: list[FieldError] = []
    parsed: dict[str, tuple[int, int]] = {}
    for name, text in written.items():
        field = FIELDS.get(name)
        if field is None:
            faults.append(FieldError(f"{path}.{name}", f"unknown match field; known are {', '.join(FIELDS)}"))
            continue
        try:
            parsed[name] = parse_range(field, text) if field.ranged else field.parse(text)
        except ValueError as error:
            faults.append(FieldError(f"{path}.{name}", str(error)))
    if faults:
        raise Invalid("the match cannot be understood", faults)
    _check_prerequisites(parsed, path)
    conditions = tuple((family, _condition(family, parsed)) for family in _families(parsed))
    if not conditions:
        raise Invalid.at(path, "no packet can have all of these fields")
    return Match(tuple(sorted(written.items())), conditions)


def _check_prerequisites(parsed: Mapping[str, tuple[int, int]], path: str) -> None:
    proto = parsed.get("ip_proto", (None, 0))[0]
    faults = [
        FieldError(f"{path}.{name}", "needs ip_proto tcp, udp or sctp")
        for name in ("l4_src", "l4_dst")
        if name in parsed and proto not in PROTOS_WITH_PORTS
    ]
    for prefix, number in (("icmpv4", 1), ("icmpv6", PROTO_ICMPV6)):
        faults += [
            FieldError(f"{path}.{name}", f"needs ip_proto {number} or none")
            for name in parsed
            if name.startswith(prefix) and proto not in (None, number)
        ]
    if faults:
        raise Invalid("a field misses what it depends on", faults)


def _families(parsed: Mapping[str, tuple[int, int]]) -> list[Family]:
    families = set(Family)
    for name in parsed:
        families &= set(FIELDS[name].shifts)
        if name.startswith("icmpv4"):
            families &= {Family.IPV4}
        if name.startswith("icmpv6"):
            families &= {Family.IPV6, Family.ND}
    if parsed.get("icmpv6_type", (None, 0))[0] not in ND_TYPES:
        families.discard(Family.ND)
    if "eth_type" in parsed:
        eth_type = parsed["eth_type"][0]
        named = {family for family, number in _ETH_OF_FAMILY.items() if number == eth_type}
        families &= named or {Family.LINK}
    elif not any(name.startswith("arp_") for name in parsed):
        families.discard(Family.ARP)
    return sorted(families)


def _condition(family: Family, parsed: Mapping[str, tuple[int, int]]) -> Condition:
    mask = value = 0
    ranges = {"l4_src": FULL_RANGE, "l4_dst": FULL_RANGE}
    for name, (first, second) in parsed.items():
        field = FIELDS[name]
        if field.ranged and first != second:
            ranges[name] = (first, second)
            continue
        bits = field.full if field.ranged else second
        mask |= bits << field.shifts[family]
        value |= first << field.shifts[family]
    for prefix, implied in (("icmpv4", 1), ("icmpv6", PROTO_ICMPV6)):
        if any(name.startswith(prefix) for name in parsed):
            mask |= 0xFF << FIELDS["ip_proto"].shifts[family]
            value |= implied << FIELDS["ip_proto"].shifts[family]
    return Condition(mask, value, ranges["l4_src"], ranges["l4_dst"])

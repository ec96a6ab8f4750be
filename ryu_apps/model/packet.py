"""A packet described by its fields, as a client writes it, turned into a flow key."""

from __future__ import annotations

from collections.abc import Mapping

from ryu_apps.model.errors import FieldError, Invalid
from ryu_apps.model.fields import FIELDS
from ryu_apps.model.flow_key import ND_TYPES, Family, FlowKey

_ETH_TYPES = {0x0800: Family.IPV4, 0x86DD: Family.IPV6, 0x0806: Family.ARP}
_IMPLIED_PROTO = {"icmpv4_type": 1, "icmpv4_code": 1, "icmpv6_type": 58, "icmpv6_code": 58}
_IMPLIED_ETH_TYPE = (("ipv4_", 0x0800), ("icmpv4", 0x0800), ("ipv6_", 0x86DD), ("icmpv6", 0x86DD), ("arp_", 0x0806))


def build_key(written: Mapping[str, str], path: str) -> FlowKey:
    """Return the key of a described packet; fields left out are zero, the Ethernet type follows from the others.

    Invalid names every field that is unknown, not one exact value, or not part of such a packet.
    """
    faults: list[FieldError] = []
    values: dict[str, int] = {}
    for name, text in written.items():
        field = FIELDS.get(name)
        try:
            if field is None:
                raise ValueError("unknown packet field")
            value, mask = field.parse(text)
            if name != "vlan_vid" and mask != field.full:
                raise ValueError("a packet has one value here, not a prefix")
            values[name] = value
        except ValueError as error:
            faults.append(FieldError(f"{path}.{name}", str(error)))
    if faults:
        raise Invalid("the packet cannot be understood", faults)
    _imply(values)
    family = _family(values)
    bits = 0
    for name, value in values.items():
        field = FIELDS[name]
        if family not in field.shifts:
            faults.append(FieldError(f"{path}.{name}", "such a packet does not have this field"))
        else:
            bits |= value << field.shifts[family]
    if faults:
        raise Invalid("the packet cannot be understood", faults)
    return FlowKey(family, bits)


def _imply(values: dict[str, int]) -> None:
    for name, proto in _IMPLIED_PROTO.items():
        if name in values:
            values.setdefault("ip_proto", proto)
    if "eth_type" not in values:
        for prefix, eth_type in _IMPLIED_ETH_TYPE:
            if any(name.startswith(prefix) for name in values):
                values["eth_type"] = eth_type
                break
        else:
            values["eth_type"] = 0x0800 if "ip_proto" in values else 0


def _family(values: Mapping[str, int]) -> Family:
    family = _ETH_TYPES.get(values["eth_type"], Family.LINK)
    if family is Family.IPV6 and values.get("ip_proto") == 58 and values.get("icmpv6_type") in ND_TYPES:
        return Family.ND
    return family

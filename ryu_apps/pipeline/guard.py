"""Anti-spoof entries of one vport: what its VM may claim to be; every refusal has an entry of its own to count it.

Open vSwitch reads the options of neighbour solicitations and advertisements alone:
that of a router solicitation, which speaks for its sender's address only, is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final

from ryu_apps.model.address import link_local
from ryu_apps.model.fields import FIELDS
from ryu_apps.model.flow_key import FlowKey
from ryu_apps.model.network import Vport
from ryu_apps.pipeline.cookie import Cookie, Counted, EntryClass, Refusal, unpack
from ryu_apps.pipeline.entry import FlowEntry, MatchValue, entry
from ryu_apps.pipeline.registers import SENDER

# Neighbour messages are judged before addresses: a valid source address does not excuse a forged neighbour option.
_REFUSE_ROLE: Final = 100
_REFUSE_SUSPECT: Final = 95
_ALLOW_NEIGHBOUR: Final = 90
_REFUSE_NEIGHBOUR: Final = 80
_ALLOW_ADDRESS: Final = 70
_REFUSE_ADDRESS: Final = 60
_ALLOW_REST: Final = 50
_REFUSE_REST: Final = 10

# The prefix of link-local addresses, fe80::/10 (RFC 4291 section 2.4).
_LINK_LOCAL_PREFIX: Final = 0xFE80 >> 6
# Query, report and done of version 1, report of version 2 (RFC 2710 section 3.1, RFC 3810 section 5).
_LISTENER_QUERY: Final = 130
_LISTENER_TYPES: Final = (_LISTENER_QUERY, 131, 132, 143)

_ARP: Final[dict[str, MatchValue]] = {"eth_type": 0x0806}
_IPV4: Final[dict[str, MatchValue]] = {"eth_type": 0x0800}
_IPV6: Final[dict[str, MatchValue]] = {"eth_type": 0x86DD}
_ICMPV6: Final[dict[str, MatchValue]] = {**_IPV6, "ip_proto": 58}


@lru_cache(maxsize=4096)
def guard(vport: Vport) -> tuple[FlowEntry, ...]:
    """Return the guard entries of a vport."""
    return tuple(_guard(vport))


def _guard(vport: Vport) -> Iterator[FlowEntry]:
    ours: dict[str, MatchValue] = {SENDER: vport.number, "eth_src": vport.mac}
    refused: tuple[tuple[int, Mapping[str, MatchValue], Refusal], ...] = (
        (_REFUSE_ROLE, {**_IPV4, "ip_proto": 17, "udp_src": 67}, Refusal.DHCP_SERVER),
        (_REFUSE_ROLE, {**_IPV6, "ip_proto": 17, "udp_src": 547}, Refusal.DHCP_SERVER),
        # Clients look at their own port alone, so a server is known by either.
        (_REFUSE_SUSPECT, {**_IPV4, "ip_proto": 17, "udp_dst": 68}, Refusal.DHCP_SERVER),
        (_REFUSE_SUSPECT, {**_IPV6, "ip_proto": 17, "udp_dst": 546}, Refusal.DHCP_SERVER),
        # Open vSwitch reads target and options as zero where a message is malformed, for instance by a doubled option.
        (_REFUSE_SUSPECT, {**_ICMPV6, "icmpv6_type": 135, "ipv6_nd_target": 0}, Refusal.ND),
        (_REFUSE_SUSPECT, {**_ICMPV6, "icmpv6_type": 136, "ipv6_nd_target": 0}, Refusal.ND),
        # An advertisement comes from an address of its sender (RFC 4861 section 4.4), whatever addresses these are.
        (_REFUSE_SUSPECT, {**_ICMPV6, "icmpv6_type": 136, "ipv6_src": 0}, Refusal.ND),
        (_REFUSE_ROLE, {**_ICMPV6, "icmpv6_type": 134}, Refusal.ROUTER),
        (_REFUSE_ROLE, {**_ICMPV6, "icmpv6_type": 137}, Refusal.ROUTER),
        (_REFUSE_NEIGHBOUR, _ARP, Refusal.ARP),
        (_REFUSE_ADDRESS, _IPV4, Refusal.IP),
        (_REFUSE_NEIGHBOUR, {**_ICMPV6, "icmpv6_type": 135}, Refusal.ND),
        (_REFUSE_NEIGHBOUR, {**_ICMPV6, "icmpv6_type": 136}, Refusal.ND),
        (_REFUSE_ADDRESS, _IPV6, Refusal.IP),
    )
    for priority, match, reason in refused:
        yield _refuse(vport, priority, {**ours, **match}, reason)
    for neighbour in (*_arp(vport), *_solicitations(vport)):
        yield _allow(vport, _ALLOW_NEIGHBOUR, {**ours, **neighbour})
    yield from _advertisements(vport, ours)
    yield from _listeners(vport, ours)
    for address in (*_ipv4(vport), *_ipv6(vport)):
        yield _allow(vport, _ALLOW_ADDRESS, {**ours, **address})
    yield _allow(vport, _ALLOW_REST, ours)
    yield _refuse(vport, _REFUSE_REST, {SENDER: vport.number}, Refusal.MAC)


def _allow(
    vport: Vport, priority: int, match: dict[str, MatchValue], goto: str = "outbound", table: str = "guard"
) -> FlowEntry:
    # A packet that another table of the guard looks at too is counted there, when it goes on to the cache.
    counted = Counted.OUTBOUND_LOOKUP if goto == "outbound" else Counted.NOTHING
    cookie = Cookie(EntryClass.BASE, vport=vport.number, detail=counted).pack()
    return entry(table, priority, match, goto=goto, cookie=cookie)


def _refuse(
    vport: Vport, priority: int, match: dict[str, MatchValue], reason: Refusal, table: str = "guard"
) -> FlowEntry:
    cookie = Cookie(EntryClass.GUARD, vport=vport.number, detail=reason).pack()
    return entry(table, priority, match, cookie=cookie)


def _addresses(vport: Vport, version: int) -> list[int]:
    return [address for family, address in vport.ips if family == version]


def _own_ipv6(vport: Vport) -> list[int]:
    """Return the IPv6 addresses of a VM; one declared may be the link-local one that its MAC gives."""
    return list(dict.fromkeys((*_addresses(vport, 6), link_local(vport.mac))))


def _arp(vport: Vport) -> Iterator[dict[str, MatchValue]]:
    arp: dict[str, MatchValue] = {**_ARP, "arp_sha": vport.mac}
    if not vport.ips:
        yield arp
        return
    # 0.0.0.0 is an address probe (RFC 5227 section 2.1.1).
    for address in (0, *_addresses(vport, 4)):
        yield {**arp, "arp_spa": address}


def _ipv4(vport: Vport) -> Iterator[dict[str, MatchValue]]:
    if not vport.ips:
        yield {**_IPV4}
        return
    # A DHCP client has no address yet (RFC 2131 section 4.1).
    yield {**_IPV4, "ipv4_src": 0, "ip_proto": 17, "udp_src": 68, "udp_dst": 67}
    for address in _addresses(vport, 4):
        yield {**_IPV4, "ipv4_src": address}


def _solicitations(vport: Vport) -> Iterator[dict[str, MatchValue]]:
    # A link-layer address option names the VM's own MAC or is left out; Open vSwitch then reads it as zero.
    for option in (vport.mac, 0):
        solicit: dict[str, MatchValue] = {**_ICMPV6, "icmpv6_type": 135, "ipv6_nd_sll": option}
        if not vport.ips:
            yield solicit
            continue
        for address in _own_ipv6(vport):
            yield {**solicit, "ipv6_src": address}
    if vport.ips:
        # Duplicate address detection has the unspecified source and no option (RFC 4861 section 4.3).
        # To ask so for another's address would keep that one from taking it (RFC 4862 section 5.4.3).
        detect: dict[str, MatchValue] = {**_ICMPV6, "icmpv6_type": 135, "ipv6_src": 0, "ipv6_nd_sll": 0}
        for address in _own_ipv6(vport):
            yield {**detect, "ipv6_nd_target": address}


def _advertisements(vport: Vport, ours: dict[str, MatchValue]) -> Iterator[FlowEntry]:
    """Yield what an advertisement may be: target and source are each one of the VM's addresses, not always the same.

    They are looked up in two tables, because in one each pair of them would need an entry.
    """
    for option in (vport.mac, 0):
        advertise: dict[str, MatchValue] = {**ours, **_ICMPV6, "icmpv6_type": 136, "ipv6_nd_tll": option}
        if not vport.ips:
            yield _allow(vport, _ALLOW_NEIGHBOUR, advertise)
            continue
        for address in _own_ipv6(vport):
            yield _allow(vport, _ALLOW_NEIGHBOUR, {**advertise, "ipv6_nd_target": address}, goto="advertise")
    if vport.ips:
        for address in _own_ipv6(vport):
            source: dict[str, MatchValue] = {SENDER: vport.number, **_IPV6, "ipv6_src": address}
            yield _allow(vport, _ALLOW_ADDRESS, source, table="advertise")
        yield _refuse(vport, _REFUSE_REST, {SENDER: vport.number}, Refusal.ND, table="advertise")


def _listeners(vport: Vport, ours: dict[str, MatchValue]) -> Iterator[FlowEntry]:
    """Yield where multicast listener messages may come from: a link-local address of the VM.

    Reports and leaves may also come from the unspecified address, queries not
    (RFC 2710 section 3, RFC 3590 section 4, RFC 3810 sections 5.1.14 and 5.2.13).
    """
    if not vport.ips:
        return
    sources = [address for address in _own_ipv6(vport) if address >> 118 == _LINK_LOCAL_PREFIX]
    for kind in _LISTENER_TYPES:
        message: dict[str, MatchValue] = {**ours, **_ICMPV6, "icmpv6_type": kind}
        for address in sources if kind == _LISTENER_QUERY else (0, *sources):
            yield _allow(vport, _ALLOW_NEIGHBOUR, {**message, "ipv6_src": address})
        yield _refuse(vport, _REFUSE_NEIGHBOUR, message, Refusal.IP)


def _ipv6(vport: Vport) -> Iterator[dict[str, MatchValue]]:
    if not vport.ips:
        yield {**_IPV6}
        return
    # A router solicitation may have the unspecified source (RFC 4861 section 4.1).
    yield {**_ICMPV6, "icmpv6_type": 133, "ipv6_src": 0}
    for address in _own_ipv6(vport):
        yield {**_IPV6, "ipv6_src": address}


def refusal(vport: Vport, key: FlowKey) -> Refusal | None:
    """Return why the guard would drop a vport's packet with this key, None when it passes.

    What a key does not hold, the addresses inside ARP and neighbour messages but for arp_spa, is taken as honest.
    """
    values: dict[str, MatchValue] = {
        SENDER: vport.number,
        "arp_sha": vport.mac,
        "ipv6_nd_target": link_local(vport.mac),
    }
    values |= {"ipv6_nd_sll": vport.mac, "ipv6_nd_tll": vport.mac}
    values |= {name: field.get(key) for name, field in FIELDS.items() if key.family in field.shifts}
    proto = values.get("ip_proto")
    if proto == 17:
        values |= {"udp_src": values["l4_src"], "udp_dst": values["l4_dst"]}
    if proto != 58:
        values.pop("icmpv6_type", None)
    table: str | None = "guard"
    while table in ("guard", "advertise"):
        here = (made for made in guard(vport) if made.table == table)
        met = (made for made in here if all(values.get(name) == value for name, value in made.match))
        best = max(met, key=lambda made: made.priority)
        table = best.goto
    cookie = unpack(best.cookie)
    return Refusal(cookie.detail) if cookie is not None and cookie.entry_class is EntryClass.GUARD else None

"""The guard: what a VM may claim to be, as the switch would decide by priority."""

from __future__ import annotations

import pytest

from ryu_apps.model.address import link_local
from ryu_apps.model.network import Vport, VportKind
from ryu_apps.pipeline.cookie import EntryClass, Refusal, unpack
from ryu_apps.pipeline.entry import FlowEntry
from ryu_apps.pipeline.guard import guard
from ryu_apps.pipeline.registers import SENDER

MAC, OTHER = 0x020000000001, 0x020000000002
V4, V6, STRANGE = 0x0A000001, 0xFD << 120 | 1, 0xFD << 120 | 9
ARP = {"eth_type": 0x0806, "arp_sha": MAC, "arp_spa": V4}
IPV4 = {"eth_type": 0x0800, "ip_proto": 6, "ipv4_src": V4}
IPV6 = {"eth_type": 0x86DD, "ip_proto": 6, "ipv6_src": V6}
SOLICIT = {**IPV6, "ip_proto": 58, "icmpv6_type": 135, "ipv6_nd_sll": MAC}
DETECT = {**SOLICIT, "ipv6_src": 0, "ipv6_nd_sll": 0, "ipv6_nd_target": V6}
ADVERTISE = {**IPV6, "ip_proto": 58, "icmpv6_type": 136, "ipv6_nd_tll": MAC, "ipv6_nd_target": V6}
QUERY, REPORT_V1, DONE, REPORT = (
    {**IPV6, "ip_proto": 58, "icmpv6_type": kind, "ipv6_src": link_local(MAC)} for kind in (130, 131, 132, 143)
)
ROUTERS = {**IPV6, "ip_proto": 58, "icmpv6_type": 133}
DHCP = {"eth_type": 0x0800, "ip_proto": 17, "ipv4_src": 0, "udp_src": 68, "udp_dst": 67}
DHCPV6 = {**IPV6, "ip_proto": 17, "ipv6_src": link_local(MAC), "udp_src": 546, "udp_dst": 547}


def vport(*ips: tuple[int, int]) -> Vport:
    """Return a vport with these addresses."""
    return Vport(
        id="vm1", host="h1", port="vf1", kind=VportKind.VF, tenant="red", segment="red", mac=MAC, ips=ips, vlan=101
    )


def decided(made: Vport, packet: dict[str, int]) -> FlowEntry:
    """Return the entry that decides a packet: the highest priority of those that match, in the last table of them."""
    fields = {SENDER: made.number, "eth_src": MAC, **packet}
    table: str | None = "guard"
    while table in ("guard", "advertise"):
        here = [entry for entry in guard(made) if entry.table == table]
        met = [entry for entry in here if all(fields.get(name) == value for name, value in entry.match)]
        best = max(entry.priority for entry in met)
        (entry,) = [entry for entry in met if entry.priority == best]
        table = entry.goto
    return entry


OWN = {
    "an ARP message": ARP,
    "an address probe": {**ARP, "arp_spa": 0},
    "IPv4": IPV4,
    "IPv6": IPV6,
    "IPv6 from the link-local address": {**IPV6, "ipv6_src": link_local(MAC)},
    "a neighbour solicitation": SOLICIT,
    "a solicitation without option": {**SOLICIT, "ipv6_nd_sll": 0},
    "duplicate address detection": DETECT,
    "duplicate address detection of the link-local one": {**DETECT, "ipv6_nd_target": link_local(MAC)},
    "a neighbour advertisement": ADVERTISE,
    "an advertisement from another of its addresses": {**ADVERTISE, "ipv6_src": link_local(MAC)},
    "an advertisement without option": {**ADVERTISE, "ipv6_nd_tll": 0},
    "a router solicitation": {**ROUTERS, "ipv6_src": 0},
    "a router solicitation from its address": ROUTERS,
    "a listener report": REPORT,
    "a listener report before it has an address": {**REPORT, "ipv6_src": 0},
    "a listener report of version 1": REPORT_V1,
    "a listener report of version 1 before it has an address": {**REPORT_V1, "ipv6_src": 0},
    "a listener's leave": DONE,
    "a listener query": QUERY,
    "a DHCP request": DHCP,
    "a DHCPv6 request": DHCPV6,
    "neither IP nor ARP": {"eth_type": 0x88B5},
}
FORGED = {
    "another MAC": ({**IPV4, "eth_src": OTHER}, Refusal.MAC),
    "another MAC in a neighbour message": ({**SOLICIT, "eth_src": OTHER}, Refusal.MAC),
    "another IPv4 address": ({**IPV4, "ipv4_src": V4 + 1}, Refusal.IP),
    "no IPv4 address and no DHCP": ({**IPV4, "ipv4_src": 0}, Refusal.IP),
    "another IPv6 address": ({**IPV6, "ipv6_src": STRANGE}, Refusal.IP),
    "another MAC in ARP": ({**ARP, "arp_sha": OTHER}, Refusal.ARP),
    "another address in ARP": ({**ARP, "arp_spa": V4 + 1}, Refusal.ARP),
    "a forged option with a valid source": ({**SOLICIT, "ipv6_nd_sll": OTHER}, Refusal.ND),
    "a forged option in an advertisement": ({**ADVERTISE, "ipv6_nd_tll": OTHER}, Refusal.ND),
    "another target advertised": ({**ADVERTISE, "ipv6_nd_target": STRANGE}, Refusal.ND),
    "another source of a solicitation": ({**SOLICIT, "ipv6_src": STRANGE}, Refusal.ND),
    "no source of a solicitation with option": ({**SOLICIT, "ipv6_src": 0, "ipv6_nd_target": V6}, Refusal.ND),
    "another's address asked for as one's own": ({**DETECT, "ipv6_nd_target": STRANGE}, Refusal.ND),
    "another source of an advertisement": ({**ADVERTISE, "ipv6_src": STRANGE}, Refusal.ND),
    "no source of an advertisement": ({**ADVERTISE, "ipv6_src": 0}, Refusal.ND),
    "another source of a router solicitation": ({**ROUTERS, "ipv6_src": STRANGE}, Refusal.IP),
    "another source of a listener report": ({**REPORT, "ipv6_src": STRANGE}, Refusal.IP),
    "a listener report from a global address": ({**REPORT, "ipv6_src": V6}, Refusal.IP),
    "a listener report of version 1 from a global address": ({**REPORT_V1, "ipv6_src": V6}, Refusal.IP),
    "a listener query from nobody": ({**QUERY, "ipv6_src": 0}, Refusal.IP),
    "a router advertisement": ({**IPV6, "ip_proto": 58, "icmpv6_type": 134}, Refusal.ROUTER),
    "a redirect": ({**IPV6, "ip_proto": 58, "icmpv6_type": 137}, Refusal.ROUTER),
    "a DHCP answer": ({**IPV4, "ip_proto": 17, "udp_src": 67, "udp_dst": 68}, Refusal.DHCP_SERVER),
    "a DHCPv6 answer": ({**IPV6, "ip_proto": 17, "udp_src": 547, "udp_dst": 546}, Refusal.DHCP_SERVER),
}
# Without declared addresses only addresses of IP are free; MACs and roles are not.
FREE = {Refusal.IP}


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("ips", [((4, V4), (6, V6)), ()], ids=["declared", "any"])
def test_what_is_the_vms_own_passes(name: str, ips: tuple[tuple[int, int], ...]) -> None:
    """Packets that tell the truth go on to policy."""
    assert decided(vport(*ips), OWN[name]).goto == "outbound"


@pytest.mark.parametrize("name", FORGED)
def test_what_is_forged_is_refused_by_reason(name: str) -> None:
    """S12: each lie is dropped by an entry that counts its vport and reason."""
    packet, reason = FORGED[name]
    entry = decided(vport((4, V4), (6, V6)), packet)
    cookie = unpack(entry.cookie)
    assert entry.goto is None and not entry.actions
    assert cookie == (EntryClass.GUARD, 0, 101, reason)


HELD = (
    "another MAC", "another MAC in ARP", "a forged option with a valid source", "no source of an advertisement",
)  # fmt: skip


@pytest.mark.parametrize("name", HELD)
def test_a_vport_of_any_address_still_has_one_mac(name: str) -> None:
    """Leaving addresses open does not open MACs."""
    packet, reason = FORGED[name]
    cookie = unpack(decided(vport(), packet).cookie)
    assert cookie is not None and cookie.detail == reason


@pytest.mark.parametrize("name", sorted(name for name, (_, reason) in FORGED.items() if reason in FREE))
def test_a_vport_of_any_address_may_use_any(name: str) -> None:
    """An empty list of addresses accepts every source address."""
    assert decided(vport(), FORGED[name][0]).goto == "outbound"


def test_a_declared_link_local_address_is_as_good_as_the_one_of_the_mac() -> None:
    """Listener messages come from a declared link-local address too (RFC 7217); naming the MAC's changes nothing."""
    declared = 0xFE80 << 112 | 77
    made = vport((6, declared), (6, link_local(MAC)))
    assert decided(made, {**REPORT, "ipv6_src": declared}).goto == "outbound"
    assert decided(made, REPORT).goto == "outbound"
    assert len({entry.key for entry in guard(made)}) == len(guard(made))


def test_entries_grow_with_addresses_not_with_their_pairs() -> None:
    """A VM of many addresses costs entries in proportion."""
    few, many = (len(guard(vport(*((6, V6 + n) for n in range(count))))) for count in (10, 110))
    assert many - few <= 100 * 8


def test_one_declared_version_closes_the_other() -> None:
    """A vport with an IPv4 address only has no IPv6 but its link-local one."""
    only_v4 = vport((4, V4))
    assert decided(only_v4, IPV6).goto is None
    assert decided(only_v4, {**IPV6, "ipv6_src": link_local(MAC)}).goto == "outbound"
    assert decided(vport((6, V6)), IPV4).goto is None

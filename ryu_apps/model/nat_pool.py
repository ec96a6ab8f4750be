"""NAT pools: addresses and ports that rules translate sources to, and what a connection has borrowed of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Final, NamedTuple
from zlib import crc32

from ryu_apps.model.address import format_ip, parse_address
from ryu_apps.model.fields import FIELDS, parse_range
from ryu_apps.model.flow_key import PROTOS_WITH_PORTS, Family, FlowKey
from ryu_apps.model.transposition import Transposition, transposition

DEFAULT_PORTS: Final = (1024, 65535)
"""The ports that no service is expected at (RFC 6335 section 6, the user and dynamic ports)."""

DEFAULT_REST_S: Final = 10
"""Longer than packets are under way in networks that are not broken."""

VERSIONS: Final = {Family.IPV4: 4, Family.IPV6: 6}
# Locally administered (IEEE 802-2014 section 8.4); the rest follows from the pool's id.
_MAC_PREFIX: Final = 0x02FA << 32


class AddressRange(NamedTuple):
    """Addresses of one IP version, both ends included."""

    version: int
    first: int
    last: int

    @property
    def size(self) -> int:
        """How many addresses there are."""
        return self.last - self.first + 1

    def overlaps(self, other: AddressRange) -> bool:
        """Return whether an address is in both."""
        return self.version == other.version and self.first <= other.last and other.first <= self.last

    def __str__(self) -> str:
        first, last = format_ip(self.version, self.first), format_ip(self.version, self.last)
        return first if self.first == self.last else f"{first}-{last}"


class Lease(NamedTuple):
    """What one connection has of a pool: an address with a port, or with one remote station where there are no ports.

    kind is the type of an ICMP query, 0 for other protocols.
    OpenFlow has no field for the identifier of an ICMP query, so that an address serves one VM for each remote station.
    """

    pool: str
    version: int
    address: int
    proto: int
    port: int = 0
    remote: int = 0
    kind: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NatPool:
    """Source addresses and ports for connections that leave a segment by one host's uplink.

    mac is the station that answers for the addresses there. ports: lowest and highest.
    most_per_vport is how many connections of one vport may have a lease at a time, None for any number.
    rest_s is how long what was given back is for nobody else, in seconds.
    """

    id: str
    segment: str
    host: str
    mac: int
    addresses: tuple[AddressRange, ...]
    ports: tuple[int, int] = DEFAULT_PORTS
    most_per_vport: int | None = None
    rest_s: int = DEFAULT_REST_S

    def size(self, version: int) -> int:
        """Return how many addresses of an IP version the pool has."""
        return sum(part.size for part in self.addresses if part.version == version)

    def address(self, version: int, place: int) -> int:
        """Return the address at a place, counted from 0 over all ranges of an IP version."""
        for part in self.addresses:
            if part.version == version:
                if place < part.size:
                    return part.first + place
                place -= part.size
        raise IndexError(place)

    def has(self, version: int, address: int) -> bool:
        """Return whether an address is one of the pool's."""
        return any(part.version == version and part.first <= address <= part.last for part in self.addresses)

    def covers(self, lease: Lease) -> bool:
        """Return whether a lease is one that the pool, as it is, could give."""
        in_range = not lease.port or self.ports[0] <= lease.port <= self.ports[1]
        return lease.pool == self.id and in_range and self.has(lease.version, lease.address)

    def edit(self, lease: Lease) -> Transposition:
        """Return the edit that gives packets their leased source."""
        edits = {"eth_src": self.mac, f"ipv{lease.version}_src": lease.address}
        return transposition(edits | ({"l4_src": lease.port} if lease.port else {}))


def lease_for(pool: str, key: FlowKey, address: int, port: int) -> Lease:
    """Return the lease by which a connection with this key would have an address, and a port where it has ports."""
    version, proto = VERSIONS[key.family], FIELDS["ip_proto"].get(key)
    if proto in PROTOS_WITH_PORTS:
        return Lease(pool, version, address, proto, port=port)
    remote, kind = FIELDS[f"ipv{version}_dst"].get(key), FIELDS["l4_src"].get(key)
    return Lease(pool, version, address, proto, remote=remote, kind=kind)


def default_mac(pool: str) -> int:
    """Return the MAC of a pool for which none is given: a function of its id."""
    return _MAC_PREFIX | crc32(pool.encode())


_PORTS: Final = re.compile("[0-9]{1,5}(-[0-9]{1,5})?")
# This network, loopback, groups and what is reserved (RFC 6890); of IPv6 also mapped and link-local addresses.
_NO_STATIONS: Final = tuple(
    map(ip_network, ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3", "::/127", "::ffff:0:0/96", "fe80::/10", "ff00::/8"))
)


def parse_ports(text: str) -> tuple[int, int]:
    """Return the lowest and highest port of `1024-65535`; ValueError for anything else, and for port 0."""
    if not _PORTS.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is neither a port nor a range of ports")
    low, high = parse_range(FIELDS["l4_src"], text)
    if not low:
        raise ValueError("port 0 is no port that a connection can have")
    return low, high


def parse_addresses(text: str) -> AddressRange:
    """Return the range of `10.0.0.200`, `10.0.0.200-10.0.0.203` or `10.0.0.200/30`; ValueError for anything else."""
    first, dash, last = (part.strip() for part in text.partition("-"))
    if dash:
        (version, low), (other, high) = parse_address(first), parse_address(last)
        if version != other:
            raise ValueError(f"{text!r} begins and ends in different IP versions")
        if low > high:
            raise ValueError(f"{text!r} is an empty range")
    elif "/" in text:
        if not text.partition("/")[2].isdecimal():
            raise ValueError(f"{text[:80]!r} has no prefix length")
        network = ip_network(text)
        version, low, high = network.version, int(network[0]), int(network[-1])
        parse_address(str(network[0]))
        parse_address(str(network[-1]))
    else:
        version, low = parse_address(text)
        high = low
    for part in _NO_STATIONS:
        if part.version == version and low <= int(part[-1]) and high >= int(part[0]):
            raise ValueError(f"{text!r} holds addresses of {part}, which are no station's")
    return AddressRange(version, low, high)

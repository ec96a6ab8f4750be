"""Who has which address and port of the NAT pools: part of the flow table, and changed with it alone.

A lease is taken when the flow that has it is kept, and given back when that flow is forgotten, whatever the reason.
So no two connections can have the same one, and none can be lost.

What is given back rests for a while before another connection gets it: packets of the old one may still be under way.
The connection itself gets it again at once, so that it goes on after a policy change that made it begin anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from heapq import heappop, heappush
from typing import Final, NamedTuple
from zlib import crc32

from ryu_apps.control.address_set import AddressSet
from ryu_apps.engine.connection import Plan
from ryu_apps.model.fields import FIELDS
from ryu_apps.model.flow_key import PROTOS_WITH_PORTS, Family, FlowKey, customer_tag
from ryu_apps.model.nat_pool import DEFAULT_REST_S, VERSIONS, Lease, NatPool, lease_for

Owner = tuple[int, int, int]
"""A connection: the vport that began it, its segment, both by number, and the ends and protocol of its first packet."""

# Addresses, ports and protocol of a key: what variants of a connection, with other MACs or DSCP, agree in.
_ENDS: Final = {Family.IPV4: (1 << 96) - 1 | 0xFF << 104, Family.IPV6: (1 << 288) - 1 | 0xFF << 296}


def owner_of(vport: int, segment: int, key: FlowKey) -> Owner:
    """Return who borrows for a connection that a vport has begun with a packet of this key."""
    return vport, segment, key.bits & _ENDS.get(key.family, 0) | customer_tag(key) << 304


def remembered(vport: int, segment: int, key: FlowKey) -> Owner:
    """Return who borrowed before a restart, as far as it is told: all but the VM's address, and its port only if the
    connection had the same outside. It is none that `owner_of` returns.
    """
    owner = owner_of(vport, segment, key)
    source = FIELDS[f"ipv{VERSIONS[key.family]}_src"]
    return vport, segment, ~(owner[2] & ~(source.full << source.shifts[key.family]))


class PoolUse(NamedTuple):
    """How many leases of a pool connections have, and how many were given back and rest."""

    lent: int
    resting: int


_Address = tuple[str, int, int, int]
_Kind = tuple[str, int, int, int, int]


def _kind(lease: Lease) -> _Kind:
    """Return what leases have in common that compete for the same addresses."""
    return lease.pool, lease.version, lease.proto, lease.remote, lease.kind


_NO_ADDRESSES: Final = AddressSet()


class _UsedUp(NamedTuple):
    """The addresses that have nothing left of a range of ports."""

    ports: tuple[int, int]
    addresses: AddressSet

    @property
    def wanted(self) -> int:
        """The ports as bits."""
        return (1 << self.ports[1] + 1) - (1 << self.ports[0])


def _round(pool: NatPool, version: int, start: int) -> Iterator[tuple[int, int]]:
    """Yield the addresses of a pool as ranges, in order from an address on and round to the one before it."""
    parts = [part for part in pool.addresses if part.version == version]
    place = next(number for number, part in enumerate(parts) if part.first <= start <= part.last)
    yield start, parts[place].last
    for part in (*parts[place + 1 :], *parts[:place]):
        yield part.first, part.last
    yield parts[place].first, start - 1


class Leases:
    """The leases in use and those at rest, by owner; the ports in use as one bit each."""

    def __init__(self) -> None:
        self._held: dict[Lease, tuple[Owner, int]] = {}
        self._resting: dict[Lease, Owner] = {}
        self._of_owner: dict[tuple[str, Owner], Lease] = {}
        self._ports: dict[_Address, int] = {}
        # The addresses whose ports are all lent, made when they are asked for; and those lent as a whole.
        self._used_up: dict[_Kind, _UsedUp] = {}
        self._stations: dict[_Kind, AddressSet] = {}
        self._by_vport: Counter[tuple[str, int]] = Counter()
        # Given back since the time was last told, and the others with the time until which they rest.
        self._fresh: list[Lease] = []
        self._until: list[tuple[float, Lease]] = []
        self._free_s: dict[Lease, float] = {}
        # After a start: the datapaths of which it is not known yet what connections there have.
        self.unread: set[int] = set()

    def uses(self, pools: Iterable[str]) -> dict[str, PoolUse]:
        """Return how many leases of each of these pools are in use and at rest."""
        lent, resting = Counter(lease.pool for lease in self._held), Counter(lease.pool for lease in self._resting)
        return {name: PoolUse(lent[name], resting[name]) for name in pools}

    def take(self, owner: Owner, plan: Plan) -> None:
        """Note that a flow is kept which has the leases of a plan; variants of a connection share them."""
        for lease in plan.leases:
            holder, flows = self._held.get(lease, (owner, 0))
            if holder != owner:
                raise RuntimeError(f"{lease} belongs to {holder}, and {owner} would take it")
            if not flows:
                before = self._resting.pop(lease, owner)
                if before != owner and self._of_owner.get((lease.pool, before)) == lease:
                    del self._of_owner[lease.pool, before]
                self._free_s.pop(lease, None)
                self._mark(lease)
                self._of_owner[lease.pool, owner] = lease
                self._by_vport[lease.pool, owner[0]] += 1
            self._held[lease] = owner, flows + 1

    def give_back(self, plan: Plan) -> None:
        """Note that a flow is forgotten which had the leases of a plan."""
        for lease in plan.leases:
            owner, flows = self._held.pop(lease)
            if flows > 1:
                self._held[lease] = owner, flows - 1
                continue
            self._by_vport[lease.pool, owner[0]] -= 1
            self._resting[lease] = owner
            self._fresh.append(lease)

    def pass_time(self, now_s: float, pools: Mapping[str, NatPool]) -> None:
        """Let what has rested be free again, and begin the rest of what was given back since the last time."""
        for lease in self._fresh:
            pool = pools.get(lease.pool)
            free_s = now_s + (DEFAULT_REST_S if pool is None else pool.rest_s)
            self._free_s[lease] = free_s
            heappush(self._until, (free_s, lease))
        self._fresh.clear()
        while self._until and self._until[0][0] <= now_s:
            until_s, lease = heappop(self._until)
            # One that was taken and given back again in the meantime has a later time of its own.
            if lease in self._resting and self._free_s[lease] == until_s:
                self._end_rest(lease)

    def _end_rest(self, lease: Lease) -> None:
        owner = self._resting.pop(lease)
        del self._free_s[lease]
        self._unmark(lease)
        if self._of_owner.get((lease.pool, owner)) == lease:
            del self._of_owner[lease.pool, owner]

    def keep(self, lease: Lease, vport: int, segment: int, key: FlowKey, until_s: float) -> None:
        """Let a free lease rest until a time, for the connection that had it: key is that of its packets outside."""
        owner = remembered(vport, segment, key)
        self._resting[lease] = owner
        self._of_owner[lease.pool, owner] = lease
        self._mark(lease)
        self._free_s[lease] = until_s
        heappush(self._until, (until_s, lease))

    def of(self, pool: str, owner: Owner) -> Lease | None:
        """Return what a connection has of a pool, or had and may have again."""
        return self._of_owner.get((pool, owner))

    def is_free(self, lease: Lease) -> bool:
        """Return whether nobody has a lease, and nobody had it lately."""
        return lease not in self._held and lease not in self._resting

    def has_share(self, pool: NatPool, vport: int) -> bool:
        """Return whether a vport may have more of a pool."""
        return pool.most_per_vport is None or self._by_vport[pool.id, vport] < pool.most_per_vport

    def next_free(self, pool: NatPool, key: FlowKey) -> Lease | None:
        """Return what is to be lent next to a connection with this key, None when all is taken.

        The address follows from the VM's own, so that a VM has one address as long as that has ports.
        The port is the VM's own if it is free there (RFC 4787 section 4.2.1), else the next one above, round the range.
        """
        version = VERSIONS[key.family]
        addresses = pool.size(version)
        start = pool.address(version, crc32(FIELDS[f"ipv{version}_src"].get(key).to_bytes(16, "big")) % addresses)
        has_ports = FIELDS["ip_proto"].get(key) in PROTOS_WITH_PORTS
        taken = self._taken_for(pool, lease_for(pool.id, key, start, 0))
        for low, high in _round(pool, version, start):
            address = taken.first_missing(low, high)
            if address is not None:
                port = self._free_port(pool, key, address) if has_ports else 0
                return None if port is None else lease_for(pool.id, key, address, port)
        return None

    def _taken_for(self, pool: NatPool, lease: Lease) -> AddressSet:
        """Return the addresses of a pool that have nothing more for leases like this one."""
        kind = _kind(lease)
        if lease.proto not in PROTOS_WITH_PORTS:
            return self._stations.get(kind, _NO_ADDRESSES)
        known = self._used_up.get(kind)
        if known is None or known.ports != pool.ports:
            known = self._used_up[kind] = _UsedUp(pool.ports, AddressSet())
            for other, ports in self._ports.items():
                if _kind(Lease(*other)) == kind and not ~ports & known.wanted:
                    known.addresses.add(other[2])
        return known.addresses

    def _free_port(self, pool: NatPool, key: FlowKey, address: int) -> int | None:
        """Return the VM's own port or the next one that is free at an address, None when none is."""
        low, high = pool.ports
        wanted = FIELDS["l4_src"].get(key)
        start = wanted if low <= wanted <= high else low
        proto = FIELDS["ip_proto"].get(key)
        used = self._ports.get((pool.id, VERSIONS[key.family], address, proto), 0)
        free = ~used & (1 << high + 1) - (1 << low)
        above = free >> start
        if above:
            return start + _lowest(above)
        return _lowest(free) if free else None

    def _mark(self, lease: Lease) -> None:
        kind = _kind(lease)
        if not lease.port:
            self._stations.setdefault(kind, AddressSet()).add(lease.address)
            return
        ports = self._ports[lease[:4]] = self._ports.get(lease[:4], 0) | 1 << lease.port
        known = self._used_up.get(kind)
        if known is not None and not ~ports & known.wanted:
            known.addresses.add(lease.address)

    def _unmark(self, lease: Lease) -> None:
        kind = _kind(lease)
        if not lease.port:
            self._stations[kind].discard(lease.address)
            if not self._stations[kind]:
                del self._stations[kind]
            return
        left = self._ports[lease[:4]] & ~(1 << lease.port)
        if left:
            self._ports[lease[:4]] = left
        else:
            del self._ports[lease[:4]]
        known = self._used_up.get(kind)
        if known is not None and left & known.wanted != known.wanted:
            known.addresses.discard(lease.address)


def _lowest(bits: int) -> int:
    return (bits & -bits).bit_length() - 1

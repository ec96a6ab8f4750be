"""What NAT pools would lend to one connection."""

from __future__ import annotations

from collections.abc import Container, Mapping

from ryu_apps.control.leases import Leases, Owner, remembered
from ryu_apps.engine.lending import Lent
from ryu_apps.model.flow_key import FlowKey
from ryu_apps.model.nat_pool import VERSIONS, Lease, NatPool, lease_for
from ryu_apps.model.transposition import IDENTITY


class Lender:
    """What the pools would lend to one connection: the same of each pool, however often it is asked."""

    def __init__(
        self,
        leases: Leases,
        pools: Mapping[str, NatPool],
        owner: Owner,
        wanted: tuple[tuple[int, int], ...] = (),
        closed: Container[str] = (),
    ) -> None:
        """Lend what is free, and keep nothing: it is taken when the flow is kept.

        wanted: addresses with ports (0 for none) that the connection is known to have, from before a restart.
        closed: pools, by id, that lend nothing for now.
        """
        self._leases = leases
        self._pools = pools
        self._owner = owner
        self._wanted = wanted
        self._closed = closed
        self._lent: dict[str, Lent | None] = {}

    def __call__(self, name: str, key: FlowKey) -> Lent | None:
        """Return what a pool gives to a packet with this key, None when it has nothing free for the vport."""
        if name not in self._lent:
            self._lent[name] = self._lend(self._pools[name], key)
        return self._lent[name]

    def _lend(self, pool: NatPool, key: FlowKey) -> Lent | None:
        if not pool.size(VERSIONS.get(key.family, 0)):
            return Lent(None, IDENTITY)
        if pool.id in self._closed:
            return None
        lease = self._known(pool, key)
        if lease is None and self._leases.has_share(pool, self._owner[0]):
            lease = self._leases.next_free(pool, key)
        return None if lease is None else Lent(lease, pool.edit(lease))

    def _known(self, pool: NatPool, key: FlowKey) -> Lease | None:
        """Return what the connection has already, or had before a restart."""
        for owner in (self._owner, remembered(*self._owner[:2], key)):
            lease = self._leases.of(pool.id, owner)
            if lease is not None and _still_fits(pool, lease, key):
                return lease
        for address, port in self._wanted:
            lease = lease_for(pool.id, key, address, port)
            if pool.covers(lease) and self._leases.is_free(lease):
                return lease
        return None


def _still_fits(pool: NatPool, lease: Lease, key: FlowKey) -> bool:
    """Return whether a lease is one that the pool, as it is now, could give to a packet with this key."""
    return pool.covers(lease) and lease == lease_for(pool.id, key, lease.address, lease.port)

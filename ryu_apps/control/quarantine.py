"""What connections had of NAT pools before a restart, and nobody has taken over: kept for them for a while.

A connection that only the host forwards has no entry in a cache from which it could be taken over.
But the entry that leads its replies is there, and tells its vport, its source outside and its remote end.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ryu_apps.control.core import ControlCore
from ryu_apps.model.fields import FIELDS
from ryu_apps.model.flow_key import FlowKey, reverse
from ryu_apps.model.nat_pool import VERSIONS, lease_for
from ryu_apps.pipeline.cached import idle_timeout_s


class Led(NamedTuple):
    """What an entry that leads replies says: vport and segment by number, and the replies' key."""

    vport: int
    segment: int
    reply: FlowKey


def keep_leases(core: ControlCore, found: Iterable[Led], now_s: float) -> int:
    """Keep what no flow has that is known now from everybody else, for an idle connection's time; return how many.

    The connection itself gets it with its next packet, if it has the VM's own port outside or none.
    """
    leases, pools, kept = core.flows.leases, core.policy.snapshot.nat_pools, 0
    for led in found:
        segment, sent = core.policy.segments.get(led.segment), reverse(led.reply)
        version = VERSIONS.get(sent.family)
        if segment is None or version is None:
            continue
        address, port = FIELDS[f"ipv{version}_src"].get(sent), FIELDS["l4_src"].get(sent)
        for pool in pools.values():
            lease = lease_for(pool.id, sent, address, port)
            if pool.segment == segment.id and pool.covers(lease) and leases.is_free(lease):
                leases.keep(lease, led.vport, led.segment, sent, now_s + idle_timeout_s(sent))
                kept += 1
    return kept

"""How a walk gets a source from a NAT pool: it asks a lender, which knows what is free, and keeps nothing itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final, NamedTuple

from ryu_apps.engine.ruling import Ruling, Verdict
from ryu_apps.model.flow_key import FlowKey
from ryu_apps.model.nat_pool import Lease
from ryu_apps.model.transposition import IDENTITY, Transposition

EXHAUSTED: Final = "pool-exhausted"
"""The reason of a ruling that denies because a pool has nothing free for the vport."""


class Lent(NamedTuple):
    """What a pool gives to a connection, and the edit that carries it out.

    lease is None where the pool has no addresses of the packet's kind: then its source stays as it is.
    """

    lease: Lease | None
    edit: Transposition


Lend = Callable[[str, FlowKey], Lent | None]
"""Return what a pool, by id, gives to a packet with this key as the asking layer sees it; None when all is taken."""


def is_exhausted(verdict: Verdict) -> bool:
    """Return whether a verdict denies because a pool has nothing free."""
    return not verdict.allow and verdict.rulings[-1].reason == EXHAUSTED


def borrow(ruling: Ruling, lend: Lend | None, key: FlowKey) -> Ruling:
    """Return what a rule with a pool says of the first packet of a connection.

    Without a lender, for packets that are decided one by one, it lets the packet pass as it is.
    """
    unchanged = ruling.to_reply or ruling
    if lend is None or ruling.pool is None:
        return unchanged
    lent = lend(ruling.pool, key)
    if lent is None:
        return replace(ruling, allow=False, reason=EXHAUSTED, edit=IDENTITY, to_reply=None)
    if lent.lease is None:
        return unchanged
    return replace(ruling, edit=ruling.edit.then(lent.edit), lease=lent.lease)

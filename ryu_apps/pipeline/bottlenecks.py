"""Where packets of several priorities share one rate: a host's uplink, and the bandwidth toward a VM.

Open vSwitch's meters know no priorities, and it gives no queue to packets of its userspace datapath.
So each priority has a meter of its own at each such place; what the meters of lower ones let through
is what higher ones leave, and `control.sharing` sees to that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from ryu_apps.engine.meter_id import meter_id
from ryu_apps.engine.policy import Policy
from ryu_apps.model.action import Prioritise
from ryu_apps.model.network import Host, Vport
from ryu_apps.pipeline.cookie import Cookie, EntryClass
from ryu_apps.pipeline.entry import FlowEntry, MatchValue, SetField, entry
from ryu_apps.pipeline.registers import EXIT, EXIT_AS_SEGMENT, EXIT_AS_VF, PRIORITY, RECEIVER, SAID, SAID_BIT, SENDER

UPLINK: Final = "uplink"
_ALONE: Final = "all"
PRIORITIES: Final = 8
"""As many as a VLAN tag can say."""
_UNICAST: Final[MatchValue] = (0, 1 << 40)


class Turn(NamedTuple):
    """One priority at a bottleneck, with the number of its meter."""

    priority: int
    meter: int


class Bottleneck(NamedTuple):
    """A rate that packets share, the uplink's (vport None) or that toward a vport's VM; turns from the highest on."""

    vport: str | None
    receiver: int
    rate_kbps: int
    turns: tuple[Turn, ...]


def priorities(policy: Policy) -> tuple[int, ...]:
    """Return the priorities that packets can have, descending; 0, which packets from elsewhere have, is one of them."""
    found = {0, *(vport.priority for vport in policy.snapshot.vports.values())}
    for key, classifier in policy.classifiers.items():
        rules = policy.snapshot.groups[key].rules
        actions = (rules[name].action for name in classifier.metered)
        found |= {action.priority for action in actions if isinstance(action, Prioritise)}
    return tuple(sorted(found, reverse=True))


def bottlenecks(policy: Policy, host: Host) -> tuple[Bottleneck, ...]:
    """Return the bottlenecks of a host, its uplink first."""
    known = policy.bottlenecks.get(host.id)
    if known is None:
        known = policy.bottlenecks[host.id] = tuple(_bottlenecks(policy, host))
    return known


def _bottlenecks(policy: Policy, host: Host) -> Iterator[Bottleneck]:
    ranks = priorities(policy)
    # A rate for one alone has another meter: nobody follows its load.
    names = {rank: str(rank) if len(ranks) > 1 else _ALONE for rank in ranks}
    if host.uplink is not None and host.limits.uplink_kbps is not None:
        # No vport has an empty id, so that none of its meters has this name.
        turns = tuple(Turn(rank, meter_id("", UPLINK, name)) for rank, name in names.items())
        yield Bottleneck(None, 0, host.limits.uplink_kbps, turns)
    for vport in policy.snapshot.vports.values():
        kbps = vport.bandwidth.inbound_kbps
        if vport.host == host.id and kbps:
            turns = tuple(Turn(rank, meter_id(vport.id, "inbound", name)) for rank, name in names.items())
            yield Bottleneck(vport.id, vport.number, kbps, turns)


def said_entries(ranks: tuple[int, ...]) -> Iterator[FlowEntry]:
    """Yield what gives packets the priority that a rule or the network's tag has said, while there are several.

    One that has no meters, which a tag may say, counts as the next below that has.
    """
    cookie = Cookie(EntryClass.BASE).pack()
    for priority in range(1, PRIORITIES) if len(ranks) > 1 else ():
        meant = SetField(PRIORITY, next(rank for rank in ranks if rank <= priority))
        yield entry("rank", 100, {SAID: SAID_BIT | priority}, meant, goto="share", cookie=cookie)


def rank_entries(vport: Vport) -> Iterator[FlowEntry]:
    """Yield what gives a vport's priority to those of its packets of which no rule has said one."""
    if vport.priority:
        cookie, own = Cookie(EntryClass.BASE, vport=vport.number).pack(), SetField(PRIORITY, vport.priority)
        yield entry("rank", 100, {SENDER: vport.number, SAID: 0}, own, goto="share", cookie=cookie)


def share_entries(bottleneck: Bottleneck) -> Iterator[FlowEntry]:
    """Yield the entries that send packets to the meter of their priority.

    What is not addressed to one station is not counted toward a VM: a meter that drops one copy drops all behind it.
    """
    cookie = Cookie(EntryClass.BASE, vport=bottleneck.receiver).pack()
    if bottleneck.receiver:
        places: tuple[dict[str, MatchValue], ...] = ({RECEIVER: bottleneck.receiver, "eth_dst": _UNICAST},)
    else:
        places = tuple({RECEIVER: 0, EXIT: way} for way in (EXIT_AS_VF, EXIT_AS_SEGMENT))
    for priority, meter in bottleneck.turns:
        for place in places:
            yield entry("share", 100, {**place, PRIORITY: priority}, goto="egress", cookie=cookie, meter=meter)

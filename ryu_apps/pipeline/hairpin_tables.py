"""The tables of the datapaths of NIC ports 2 and 3, numbered from 0 as those of the VFs' datapath are."""

from __future__ import annotations

from typing import Final

from ryu_apps.pipeline.registers import CAME_BY, CHAIN, HEADING, POSITION, SEGMENT, SENDER, WAYS
from ryu_apps.pipeline.table import Miss, Table

_PLACE: Final = frozenset({SEGMENT, CHAIN, POSITION})
_WAYS: Final = frozenset(WAYS)
_IP: Final = frozenset({"eth_type", "ip_proto", "ipv4_src", "ipv4_dst", "ipv6_src", "ipv6_dst"})
_PORTS: Final = frozenset({f"{proto}_{side}" for proto in ("tcp", "udp", "sctp") for side in ("src", "dst")})
_TUPLE: Final = _IP | _PORTS | {"eth_src", "eth_dst"}
_PROBE: Final = frozenset({"eth_src", "eth_dst", "eth_type", "ip_proto", "ipv4_src", "ipv4_dst", "udp_src", "udp_dst"})

HAIRPIN_TABLES: Final = (
    Table(
        name="splice",
        purpose="VLAN on the cable or the network ↔ sub-interface without the tag, one to one; or the begin of a chain",
        matches=_PROBE | {"in_port", "vlan_vid", "vlan_pcp"},
        writes=_WAYS | {"vlan", "output", SEGMENT, SENDER, CHAIN, POSITION},
        next=frozenset({"passed", "resume", "assigned", "choose"}),
        miss=Miss.DROP,
    ),
    Table(
        name="passed",
        purpose="what an instance sends, to the next hop or the end of the chain; not back what it was given",
        matches=_PLACE | _WAYS | {HEADING, "in_port"},
        writes=_WAYS | {POSITION},
        next=frozenset({"remember", "choose", "leave"}),
        miss=Miss.DROP,
    ),
    Table(
        name="remember",
        purpose="beside the way, by resubmit: writes down that replies go back, and by which instances",
        matches=_PLACE | {"eth_type", "ip_proto"},
        writes=frozenset(),
        next=frozenset({"resume", "assigned"}),
        miss=Miss.DROP,
    ),
    Table(
        name="resume",
        purpose="beside the way, written by the switch itself: the chain that a connection's replies go back by",
        matches=_TUPLE | {"icmpv6_type", SEGMENT, SENDER},
        writes=frozenset({CHAIN, POSITION}),
        next=frozenset(),
        miss=Miss.DROP,
    ),
    Table(
        name="assigned",
        purpose="beside the way, written by the switch itself: the instances that a connection has, and where it heads",
        matches=_TUPLE | {SEGMENT, CHAIN},
        writes=_WAYS | {HEADING},
        next=frozenset(),
        miss=Miss.DROP,
    ),
    Table(
        name="choose",
        purpose="instances for connections that have none, or whose instance at this hop does not work",
        matches=_PLACE | _PROBE | _WAYS | {SENDER, HEADING},
        writes=_WAYS | {HEADING, POSITION, CAME_BY, "vlan", "output"},
        next=frozenset({"assign", "remember", "enter", "leave", "choose"}),
        miss=Miss.DROP,
    ),
    Table(
        name="assign",
        purpose="writes down which instances a connection was given",
        matches=_PLACE | {"eth_type", "ip_proto"},
        writes=frozenset(),
        next=frozenset({"assigned", "enter"}),
        miss=Miss.DROP,
    ),
    Table(
        name="enter",
        purpose="into the instance; into another while its link is down",
        matches=_PLACE | _WAYS,
        writes=frozenset({"vlan", "output"}),
        next=frozenset(),
        miss=Miss.DROP,
    ),
    Table(
        name="leave",
        purpose="the end of the chain: to VFs by their VLANs, or to the network",
        matches=frozenset({SEGMENT, POSITION, "eth_src", "eth_dst"}),
        writes=frozenset({"vlan", "vlan_vid", "output"}),
        next=frozenset(),
        miss=Miss.DROP,
    ),
)

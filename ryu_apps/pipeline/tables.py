"""The ordered list of tables: what each may match and write, where it leads, and what a miss does.

Table numbers are positions in this list and appear nowhere else.
"""

from __future__ import annotations

from typing import Final

from ryu_apps.pipeline.hairpin_tables import HAIRPIN_TABLES
from ryu_apps.pipeline.registers import (
    BACK,
    CAME_BY,
    CHAIN,
    COPY,
    EXIT,
    METER,
    PRIORITY,
    PUNT,
    RECEIVER,
    SAID,
    SEGMENT,
    SENDER,
    VIA,
)
from ryu_apps.pipeline.table import Miss, Table

_MACS = frozenset({"eth_dst", "eth_src"})
_ADDRESSES = frozenset({"ipv4_src", "ipv4_dst", "ipv6_src", "ipv6_dst"})
_PORTS = frozenset({f"{proto}_{side}" for proto in ("tcp", "udp", "sctp") for side in ("src", "dst")})
_ICMP = frozenset({"icmpv4_type", "icmpv4_code", "icmpv6_type", "icmpv6_code"})
_TUPLE = _MACS | _ADDRESSES | _PORTS | _ICMP | {"vlan_vid", "eth_type", "ip_proto", "ip_dscp", "ip_frag", "tcp_flags"}
_EDITS = _MACS | _ADDRESSES | _PORTS | {"ip_dscp"}
_TUNNEL = frozenset({"tunnel_id", "tun_ipv4_dst", "tun_ipv6_dst"})
_GUARDED = frozenset({"arp_sha", "arp_spa", "ipv6_nd_target", "ipv6_nd_sll", "ipv6_nd_tll"})

_ASKING = frozenset({"eth_type", "arp_op", "arp_tpa", "ip_proto", "icmpv6_type", "ipv6_nd_target"})

TABLES: Final = (
    Table(
        name="classify",
        purpose="in_port and VLAN tag or VNI → segment and sending vport; the tag is taken off",
        matches=frozenset({"in_port", "vlan_vid", "tunnel_id"}),
        writes=frozenset({SEGMENT, SENDER, RECEIVER, SAID, BACK, CAME_BY, "vlan", "meter"}),
        next=frozenset({"guard", "returned"}),
        miss=Miss.DROP,
    ),
    Table(
        name="guard",
        purpose="anti-spoof of MAC, IP, ARP, ND and DHCP; each refusal counted by vport and reason",
        matches=_TUPLE | _GUARDED | {SENDER, SEGMENT},
        writes=frozenset(),
        next=frozenset({"advertise", "outbound", "deliver"}),
        miss=Miss.DROP,
    ),
    Table(
        name="advertise",
        purpose="anti-spoof of the source of a neighbour advertisement whose target and option are the VM's own",
        matches=frozenset({SENDER, "eth_type", "ipv6_src"}),
        writes=frozenset(),
        next=frozenset({"outbound"}),
        miss=Miss.DROP,
    ),
    Table(
        name="outbound",
        purpose="exact-match cache of the sending vport's verdicts",
        matches=_TUPLE | {SENDER, SEGMENT},
        writes=_EDITS | _TUNNEL | {"vlan", "vlan_vid", METER, COPY, VIA, EXIT, SAID, CHAIN, PUNT},
        next=frozenset({"deliver", "closing", "meter", "mirror", "missed"}),
        miss=Miss.CONTROLLER,
    ),
    Table(
        name="deliver",
        purpose="virtual-switch table: segment and destination MAC → local vport, uplink, or all members",
        matches=frozenset({SEGMENT, SENDER, VIA, CHAIN, "eth_dst"}) | _ASKING,
        writes=frozenset({RECEIVER, EXIT, PUNT}),
        next=frozenset({"arrival", "closing", "pooled", "missed"}),
        miss=Miss.DROP,
    ),
    Table(
        name="pooled",
        purpose="which vport has borrowed the address of a NAT pool that a reply is for",
        matches=_TUPLE | {SEGMENT},
        writes=frozenset({RECEIVER, PUNT}),
        next=frozenset({"arrival", "missed"}),
        miss=Miss.DROP,
    ),
    Table(
        name="returned",
        purpose="what functions send to a VF on a host with a hairpin: not its own frames, and only those for its MACs",
        matches=frozenset({RECEIVER, *_MACS}),
        writes=frozenset(),
        next=frozenset({"arrival"}),
        miss=Miss.DROP,
    ),
    Table(
        name="arrival",
        purpose="counts, per vport, the packets that are brought to its inbound cache",
        matches=frozenset({RECEIVER}),
        writes=frozenset(),
        next=frozenset({"inbound"}),
        miss=Miss.DROP,
    ),
    Table(
        name="inbound",
        purpose="exact-match cache of the receiving vport's verdicts",
        matches=_TUPLE | {RECEIVER, SEGMENT},
        writes=_EDITS | {"vlan", "vlan_vid", METER, COPY, SAID, PUNT},
        next=frozenset({"closing", "meter", "mirror", "missed"}),
        miss=Miss.CONTROLLER,
    ),
    Table(
        name="closing",
        purpose="a copy for the host of each TCP packet that resets a connection; all packets go on",
        matches=frozenset({"eth_type", "ip_proto", "tcp_flags"}),
        writes=frozenset({PUNT}),
        next=frozenset({"missed", "rank", "egress"}),
        miss=Miss.CONTINUE,
    ),
    Table(
        name="rank",
        purpose="the priority of packets: what a rule has given, else that of the vport that sent them",
        matches=frozenset({SENDER, SAID}),
        writes=frozenset({PRIORITY}),
        next=frozenset({"share"}),
        miss=Miss.CONTINUE,
    ),
    Table(
        name="share",
        purpose="where room is short, uplink or bandwidth toward a VM: the meter of each priority",
        matches=frozenset({RECEIVER, EXIT, PRIORITY, "eth_dst"}),
        writes=frozenset({"meter"}),
        next=frozenset({"egress"}),
        miss=Miss.CONTINUE,
    ),
    Table(
        name="egress",
        purpose="tag for the wire or the trunk, and output",
        matches=frozenset({SEGMENT, SENDER, RECEIVER, EXIT, "eth_src", "vlan_vid"}),
        writes=frozenset({"vlan", "output"}),
        next=frozenset(),
        miss=Miss.DROP,
    ),
    Table(
        name="missed",
        purpose="the way to the controller, counted and metered per vport and cache; or back to a VM's synthetic port",
        matches=frozenset({PUNT, SENDER, RECEIVER, SEGMENT, BACK}),
        writes=frozenset({"vlan", "output"}),
        next=frozenset(),
        miss=Miss.DROP,
    ),
    Table(
        name="meter",
        purpose="beside the way, by resubmit: the meter of a rule, which drops what is too much",
        matches=frozenset({METER}),
        writes=frozenset({"meter"}),
        next=frozenset(),
        miss=Miss.DROP,
    ),
    Table(
        name="mirror",
        purpose="beside the way, by resubmit: a copy out of a vport's port",
        matches=frozenset({COPY, SENDER, "eth_src"}),
        writes=frozenset({"output"}),
        next=frozenset(),
        miss=Miss.DROP,
    ),
)

_PIPELINES: Final = (TABLES, HAIRPIN_TABLES)

BY_NAME: Final = {table.name: table for tables in _PIPELINES for table in tables}
NUMBER: Final = {table.name: number for tables in _PIPELINES for number, table in enumerate(tables)}

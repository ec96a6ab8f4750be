"""Flow entries as text, in the syntax of ovs-ofctl, so that they can be read, compared and typed in."""

from __future__ import annotations

from typing import Final

from ryu_apps.model import address
from ryu_apps.pipeline.entry import (
    IN_PORT,
    ChainToTag,
    EntryAction,
    FinTimeout,
    FlowEntry,
    MatchValue,
    Output,
    PopVlan,
    PriorityFromTag,
    PriorityToTag,
    PushVlan,
    Resubmit,
    SetField,
    ToController,
)
from ryu_apps.pipeline.learning import Bits, FirstUp, Learn, Source, Spread, Target
from ryu_apps.pipeline.registers import CHAIN, PRIORITY, SAID, SAID_BIT
from ryu_apps.pipeline.tables import NUMBER

_NAMES: Final = {
    "eth_dst": "dl_dst", "eth_src": "dl_src", "vlan_vid": "vlan_tci", "eth_type": "dl_type",
    "ip_proto": "nw_proto", "ipv4_src": "nw_src", "ipv4_dst": "nw_dst",
    "icmpv4_type": "icmp_type", "icmpv4_code": "icmp_code",
    "tunnel_id": "tun_id",
    "ipv6_nd_target": "nd_target", "ipv6_nd_sll": "nd_sll", "ipv6_nd_tll": "nd_tll",
}  # fmt: skip
# A set_field takes OpenFlow's names, but Open vSwitch calls IPv4 addresses otherwise (ovs-fields(7)).
_SET_NAMES: Final = {
    "ipv4_src": "ip_src", "ipv4_dst": "ip_dst",
    "tunnel_id": "tun_id", "tun_ipv4_dst": "tun_dst", "nxm_in_port": "in_port",
}  # fmt: skip
# Whole fields by Nicira's and OpenFlow's names, as in ovs-actions(7), learn.
_LEARNED: Final = {
    "eth_src": "NXM_OF_ETH_SRC", "eth_dst": "NXM_OF_ETH_DST", "eth_type": "eth_type", "ip_proto": "NXM_OF_IP_PROTO",
    "ipv4_src": "NXM_OF_IP_SRC", "ipv4_dst": "NXM_OF_IP_DST",
    "ipv6_src": "NXM_NX_IPV6_SRC", "ipv6_dst": "NXM_NX_IPV6_DST",
    **{name: f"OXM_OF_{name.upper()}" for name in ("tcp_src", "tcp_dst", "udp_src", "udp_dst", "sctp_src", "sctp_dst")},
    **{f"reg{n}": f"NXM_NX_REG{n}" for n in range(16)},
}  # fmt: skip
_MACS: Final = frozenset({"eth_dst", "eth_src", "arp_sha", "ipv6_nd_sll", "ipv6_nd_tll"})
_IPV4: Final = frozenset({"ipv4_src", "ipv4_dst", "arp_spa", "arp_tpa", "tun_ipv4_dst"})
_IPV6: Final = frozenset({"ipv6_src", "ipv6_dst", "ipv6_nd_target", "tun_ipv6_dst"})
_HEX: Final = frozenset({"eth_type", "vlan_vid", *(f"reg{n}" for n in range(16)), "tunnel_id"})


def show(entry: FlowEntry) -> str:
    """Return an entry as ovs-ofctl would take it, with the table's name as a comment-free prefix of its number."""
    parts = [f"table={NUMBER[entry.table]}", f"priority={entry.priority}"]
    if entry.cookie:
        parts.insert(0, f"cookie=0x{entry.cookie:x}")
    if entry.idle_timeout_s:
        parts.append(f"idle_timeout={entry.idle_timeout_s}")
    if entry.hard_timeout_s:
        parts.append(f"hard_timeout={entry.hard_timeout_s}")
    parts += [_match(name, value) for name, value in sorted(entry.match, key=_prerequisites_first)]
    actions = [f"meter:{entry.meter}"] if entry.meter else []
    actions += [_action(action) for action in entry.actions]
    if entry.goto:
        actions.append(f"goto_table:{NUMBER[entry.goto]}")
    return ",".join(parts) + " actions=" + (",".join(actions) or "drop")


def _prerequisites_first(field: tuple[str, MatchValue]) -> tuple[int, str]:
    order = {"in_port": 0, "eth_type": 1, "ip_proto": 2, "icmpv6_type": 3}
    return order.get(field[0], 4 if not field[0].startswith("reg") else 0), field[0]


def value_text(name: str, value: int) -> str:
    """Return a field's value as ovs-ofctl writes it."""
    if name in _MACS:
        return address.format_mac(value)
    if name in _IPV4:
        return address.format_ipv4(value)
    if name in _IPV6:
        return address.format_ipv6(value)
    return f"0x{value:x}" if name in _HEX else str(value)


def _match(name: str, value: MatchValue) -> str:
    wire = _NAMES.get(name, name)
    if name == "ip_frag":
        return "ip_frag=later" if value == (2, 2) else "ip_frag=yes"
    if name == "ip_dscp":
        return f"ip_dscp={value}"
    if isinstance(value, tuple):
        return f"{wire}={value_text(name, value[0])}/{value_text(name, value[1])}"
    if name == "vlan_vid" and value:
        return f"dl_vlan={value & 0xFFF}"
    return f"{wire}={value_text(name, value)}"


def _action(action: EntryAction) -> str:
    match action:
        case SetField(field=name, value=value):
            return f"set_field:{value_text(name, value)}->{_SET_NAMES.get(name, name)}"
        case PopVlan():
            return "pop_vlan"
        case PushVlan(vid=vid):
            return f"push_vlan:0x8100,set_field:{vid | 0x1000}->vlan_vid"
        case PriorityFromTag():
            return f"set_field:0x{SAID_BIT:x}->{SAID},move:NXM_OF_VLAN_TCI[13..15]->NXM_NX_{SAID.upper()}[0..2]"
        case PriorityToTag():
            return f"move:NXM_NX_{PRIORITY.upper()}[0..2]->NXM_OF_VLAN_TCI[13..15]"
        case ChainToTag():
            return f"move:NXM_NX_{CHAIN.upper()}[0..2]->NXM_OF_VLAN_TCI[13..15]"
        case Output(port_no=port_no):
            return "IN_PORT" if port_no == IN_PORT else f"output:{port_no}"
        case ToController(meter=meter):
            return f"controller(meter_id={meter})" if meter else "CONTROLLER:65535"
        case Resubmit(table=table):
            return f"resubmit(,{NUMBER[table]})"
        case FinTimeout(idle_s=idle_s, hard_s=hard_s):
            return f"fin_timeout(idle_timeout={idle_s},hard_timeout={hard_s})"
        case Learn():
            return _learn(action)
        case Spread(members=members, to=to):
            return f"bundle_load(symmetric_l3l4+udp,0,hrw,ofport,{_learned(to)},members:{_ports(members)})"
        case FirstUp(members=members):
            return f"bundle(eth_src,0,active_backup,ofport,members:{_ports(members)})"


def _ports(members: tuple[int, ...]) -> str:
    return ",".join(map(str, members))


def _learn(action: Learn) -> str:
    parts = [
        f"table={NUMBER[action.table]}", f"idle_timeout={action.idle_timeout_s}",
        *([f"fin_idle_timeout={action.fin_idle_s}"] if action.fin_idle_s else ()),
        f"priority={action.priority}", "delete_learned", f"cookie=0x{action.cookie:x}",
    ]  # fmt: skip
    parts += [f"{_learned(name)}={_source(name, source)}" for name, source in action.match]
    parts += [f"load:{_source(name, source)}->{_learned(name)}" for name, source in action.load]
    return f"learn({','.join(parts)})"


def _learned(name: Target) -> str:
    """Return a field of an entry to be written as ovs-ofctl takes it there."""
    if isinstance(name, Bits):
        last = f"..{name.first + name.width - 1}" if name.width > 1 else ""
        return f"{name.register}[{name.first}{last}]"
    return f"{_LEARNED.get(name, name)}[]"


def _source(name: Target, source: Source) -> str:
    if isinstance(source, int):
        return value_text(name if isinstance(name, str) else name.register, source)
    return _learned(source)

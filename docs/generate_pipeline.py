"""Writes docs/pipeline.md from the table list and the compiler.

Run `python -m docs.generate_pipeline` after a change to the pipeline; a test fails while the file is stale.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Final

from immutables import Map

from docs.hairpin_example import hairpin_section
from ryu_apps.control.unified_flow import UnifiedFlow
from ryu_apps.engine.connection import connect
from ryu_apps.engine.policy import Policy, compile_policy
from ryu_apps.model.action import Allow, Nat
from ryu_apps.model.address import parse_address, parse_mac
from ryu_apps.model.match import parse_match
from ryu_apps.model.network import Host, MissPath, Segment, Tenant, Vport, VportKind
from ryu_apps.model.packet import build_key
from ryu_apps.model.policy import KIND_OF, Change, Resource, Snapshot
from ryu_apps.model.rules import Direction, Group, Layer, Rule, Scope
from ryu_apps.model.transposition import transposition
from ryu_apps.pipeline import cookie, registers
from ryu_apps.pipeline.base import base_entries
from ryu_apps.pipeline.cached import compile_cached
from ryu_apps.pipeline.cookie import CACHED, Counted, EntryClass, Punt, Refusal, unpack
from ryu_apps.pipeline.entry import FlowEntry
from ryu_apps.pipeline.show import show
from ryu_apps.pipeline.tables import TABLES, Table

TARGET: Final = Path(__file__).with_name("pipeline.md")

CLASSES: Final = {
    EntryClass.BASE: "standing entry: it follows from hosts, segments, vports and routes",
    EntryClass.PUNT: "standing entry that sends to the controller",
    EntryClass.GUARD: "standing entry that refuses; its packet count is the number of refusals",
    EntryClass.FORWARD: "cached verdict on the first packet's way",
    EntryClass.REPLY: "cached verdict on the way of the replies",
    EntryClass.EXTRA: "cached verdict on a variant: packets of a known connection with other MACs or DSCP",
    EntryClass.METER: "meter that one connection has for itself",
    EntryClass.LEAD: "way of a connection's replies to the vport that has borrowed the address of a NAT pool",
    EntryClass.PROBE: "standing entry of NIC port 2 that catches the probes of an instance and sends them up",
    EntryClass.LEARNED: "written by NIC port 2 itself: the instances and the way back of a connection in a chain",
}
PUNTS: Final = {
    Punt.MISS: "no entry yet",
    Punt.FRAGMENT: "a fragment: later ones follow the verdict of their first",
    Punt.SINGLE: "multicast, broadcast or DHCP: each packet is decided on its own",
    Punt.NEIGHBOUR: "ARP or neighbour discovery, where a rule of the vport's view names it",
    Punt.CLOSING: "a copy of a TCP packet with RST that the verdicts have let pass; it goes on by itself",
    Punt.POOL: "about an address of a NAT pool: somebody asks who has it, or an ICMP error or later fragment is for it",
}
COUNTED: Final = {
    Counted.NOTHING: "nothing that is asked for",
    Counted.OUTBOUND_LOOKUP: "packets of the VM that the guard lets go on to its outbound cache",
    Counted.OUTBOUND_PASS: "of these, neighbour messages that pass the cache by",
    Counted.INBOUND_LOOKUP: "packets for the VM that are brought to its inbound cache",
    Counted.INBOUND_PASS: "of these, neighbour messages that pass the cache by",
    Counted.OUTBOUND_RETURN: "of the outbound look-ups, packets that went back to their VM",
}
REFUSALS: Final = {
    Refusal.VLAN: "the VM sent a VLAN tag that is not its own to use",
    Refusal.HALF_OPEN_LIMIT: "the vport has as many half-open TCP connections as it may; only for a second at a time",
    Refusal.NOT_LENT: "it is for an address of a NAT pool, and for no connection that has it",
    Refusal.TAGGED: "it would reach the VM with a customer's tag on it, because no rule took that off",
    Refusal.MAC: "the source MAC is not the vport's",
    Refusal.IP: "the source address is not one of the vport's, or not link-local in a multicast listener message",
    Refusal.ARP: "the ARP message names another MAC or address as its sender",
    Refusal.ND: "the neighbour message names another MAC or address as its own, or comes from another",
    Refusal.ROUTER: "a router advertisement or redirect",
    Refusal.DHCP_SERVER: "an answer of a DHCP server",
    Refusal.REFLECTED: "the network, or a function, brought back a frame that the vport, or one of this host, has sent",
    Refusal.UNKNOWN_VLAN: "the frame came by the uplink, a cable or from a function with a VLAN that nobody has there",
    Refusal.NOT_LOCAL: "the frame came for a MAC that is not on this host, or from functions for that of another VF",
    Refusal.BANDWIDTH: "the vport's bandwidth in this direction is 0",
    Refusal.MISS_LIMIT: "a meter has dropped it before the controller: the vport has used up its `miss_rate_pps`",
    Refusal.NO_TUNNEL: "a rule sends it in a tunnel, and the host's tunnel port is not there",
    Refusal.NO_CABLE: "the port of the host's hairpin cable is not there",
    Refusal.NO_FUNCTION: "the sub-interface or outlet that the frame is for is not there, or cannot be reached",
    Refusal.PROBE: "it looks like a probe of a function, and is none or comes out where none may",
    Refusal.OUTLET_MAC: "a function sends to the network from a MAC that may not leave by the outlet",
    Refusal.UNKNOWN_VNI: "the frame came by the tunnel port with a VNI that no segment has",
}

RED: Final = "red"
OFFICE: Final = "office"


def _resources() -> Iterator[Resource]:
    yield Host(id="h1", dpid=1, uplink="h1-uplink", miss=MissPath.VM)
    yield Host(id="h2", dpid=2, uplink="h2-uplink")
    yield Tenant(id=RED)
    yield Segment(id=RED, tenant=RED, vlan=None, number=1)
    yield Segment(id=OFFICE, tenant=RED, vlan=200, number=2)
    yield _vport("vm1", "h1", 1, ips=("10.0.0.1", "fd00::1"))
    yield _vport("vm2", "h1", 2, synthetic="h1-syn2")
    yield _vport("router", "h1", 3, kind=VportKind.TRUNK, trunk=(OFFICE,))
    yield _vport("vm4", "h2", 4)
    allow, deny = ((way, True) for way in Direction), ((Direction.OUTBOUND, True), (Direction.INBOUND, False))
    yield Layer(id="balancer", position=10, stateful=True, owner="ops", default_allow=tuple(allow))
    yield Layer(id="firewall", position=20, stateful=True, owner="ops", default_allow=deny)
    to_vm2 = {"ipv4_dst": parse_address("10.0.0.2")[1], "eth_dst": _mac(2), "l4_dst": 8080}
    service = {"ip_proto": "tcp", "ipv4_dst": "10.0.0.100", "l4_dst": "80"}
    yield _group("balancer", Direction.OUTBOUND, Rule(
        id="http", priority=100, match=parse_match(service), action=Nat(edit=transposition(to_vm2)),
    ))  # fmt: skip
    yield _group("firewall", Direction.INBOUND, Rule(
        id="http", priority=100, match=parse_match({"ip_proto": "tcp", "l4_dst": "8080"}), action=Allow(),
    ))  # fmt: skip


def _mac(number: int) -> int:
    return parse_mac(f"02:00:00:00:00:{number:02x}")


def _vport(
    name: str,
    host: str,
    number: int,
    *,
    kind: VportKind = VportKind.VF,
    ips: tuple[str, ...] = (),
    trunk: tuple[str, ...] = (),
    synthetic: str | None = None,
) -> Vport:
    addresses = tuple(parse_address(text) for text in ips)
    return Vport(
        id=name, host=host, port=f"{host}-vf{number}", kind=kind, tenant=RED, mac=_mac(number), ips=addresses,
        segment=None if trunk else RED, vlan=100 + number, trunk=trunk,
        synthetic=synthetic,
    )  # fmt: skip


def _group(layer: str, direction: Direction, rule: Rule) -> Group:
    rules = Map({rule.id: rule})
    return Group(id="web", layer=layer, direction=direction, scope=Scope(), priority=100, rules=rules)


def _key(resource: Resource) -> str | tuple[str, str]:
    return (resource.layer, resource.id) if isinstance(resource, Group) else resource.id


def example_policy() -> Policy:
    """Return the compiled policy that the dumps are made from."""
    resources = list(_resources())
    return compile_policy(Snapshot().changed(Change(kind=KIND_OF[type(r)], key=_key(r), value=r) for r in resources))


PACKETS: Final = (
    {"ipv4_dst": "10.0.0.100", "eth_dst": "02:00:00:00:00:02", "l4_dst": "80"},
    {"ipv4_dst": "10.0.0.2", "eth_dst": "02:00:00:00:00:02", "l4_dst": "22"},
)


def example_entries(policy: Policy) -> list[FlowEntry]:
    """Return every entry of host h1: the standing ones, and those of two connections that vm1 began."""
    host = policy.snapshot.hosts["h1"]
    ports = {f"h1-vf{number}": number for number in (1, 2, 3)} | {"h1-uplink": 4, "h1-syn2": 5}
    entries = list(base_entries(policy, host, ports))
    vm1 = policy.snapshot.vports["vm1"]
    for flow_id, packet in enumerate(PACKETS, start=1):
        own = {"eth_src": "02:00:00:00:00:01", "ipv4_src": "10.0.0.1", "ip_proto": "tcp", "l4_src": "40000"}
        key = build_key({**own, **packet}, "packet")
        plan = connect(policy, RED, vm1, Direction.OUTBOUND, key)
        generation = policy.snapshot.generation
        flow = UnifiedFlow(flow_id, 1, key, plan, generation, generation, 0.0)
        entries += [compile_cached(made) for made in flow.entries()]
    return entries


def with_names(line: str) -> str:
    """Return a dump line with tables by name, as `ovs-ofctl --names` writes them."""

    def name(found: re.Match[str]) -> str:
        return found[1] + TABLES[int(found[2])].name

    return re.sub(r"(table=|goto_table:|resubmit\(,)(\d+)", name, line)


# Every vport has the same set of standing entries in these tables; one set is enough to see.
_SHOWN_VPORT: Final = 101
_SAME_FOR_ALL: Final = frozenset({"guard", "advertise", "outbound", "inbound"})


def _shown(made: FlowEntry) -> bool:
    named = unpack(made.cookie)
    if named is None or named.entry_class in CACHED or made.table not in _SAME_FOR_ALL:
        return True
    return named.vport in (0, _SHOWN_VPORT)


def _dump(table: Table, entries: Iterable[FlowEntry]) -> Iterator[str]:
    """Yield the entries of a table by priority; entries of one priority never contradict and go by their text."""
    found = [made for made in entries if made.table == table.name and _shown(made)]
    lines = [(-made.priority, with_names(show(made))) for made in found]
    yield from (line for _, line in sorted(lines, key=lambda pair: (pair[0], pair[1].partition(",")[2])))


def _constants(module: ModuleType) -> Iterator[tuple[str, object, str]]:
    """Yield the constants of a module with the text that stands below each."""
    body = ast.parse(inspect.getsource(module)).body
    for node, after in pairwise(body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            text = ast.literal_eval(after.value) if isinstance(after, ast.Expr) else ""
            yield node.target.id, getattr(module, node.target.id), text


def _fields(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names)) or "nothing"


def _overview() -> Iterator[str]:
    yield "| # | table | purpose | next | no entry matches |"
    yield "|---|---|---|---|---|"
    for number, table in enumerate(TABLES):
        order = [other.name for other in TABLES if other.name in table.next]
        links = ", ".join(f"[{name}](#{name})" for name in order) or "–"
        yield f"| {number} | [{table.name}](#{table.name}) | {table.purpose} | {links} | {table.miss.value} |"


def _table_section(table: Table, entries: Iterable[FlowEntry]) -> Iterator[str]:
    yield f"## {table.name}"
    yield ""
    yield f"* Purpose: {table.purpose}."
    yield f"* May match: {_fields(table.matches)}."
    yield f"* May write: {_fields(table.writes)}."
    yield f"* Next tables: {_fields(table.next)}."
    yield f"* When no entry matches: {table.miss.value}."
    if table.name in _SAME_FOR_ALL:
        yield "* Standing entries are shown for `vm1` and for no vport; every vport has such a set."
    yield ""
    yield "```"
    yield from _dump(table, entries)
    yield "```"
    yield ""


def _meanings(title: str, meanings: Iterable[tuple[str, int, str]]) -> Iterator[str]:
    yield f"| {title} | value | meaning |"
    yield "|---|---|---|"
    for name, value, meaning in meanings:
        yield f"| `{name}` | {value} | {meaning} |"
    yield ""


def _cookie_section() -> Iterator[str]:
    lines = (cookie.__doc__ or "").splitlines()
    yield "## Cookies"
    yield ""
    yield lines[0]
    yield ""
    yield "```"
    yield from lines[2:]
    yield "```"
    yield ""
    yield "An entry of a vport, of a class or of one connection is found, counted and removed by masking its cookie."
    yield "An entry without the mark is foreign: it is reported and never touched."
    yield ""
    yield from _meanings("class", ((each.name.lower(), each, CLASSES[each]) for each in EntryClass))
    yield "Why a packet is sent to the controller (`detail` of class punt):"
    yield ""
    yield from _meanings("punt", ((each.name.lower(), each, PUNTS[each]) for each in Punt))
    yield "What the packets of a standing entry are to its vport (`detail` of class base);"
    yield "look-ups less the others are the hits of the cache:"
    yield ""
    yield from _meanings("counted", ((each.name.lower(), each, COUNTED[each]) for each in Counted))
    yield "Why a packet is refused before policy is asked (`detail` of class guard, a name in `GET /v1/stats`):"
    yield ""
    yield from _meanings("refusal", ((each.slug, each, REFUSALS[each]) for each in Refusal))


def _register_section() -> Iterator[str]:
    yield "## Registers"
    yield ""
    yield "| name | value | meaning |"
    yield "|---|---|---|"
    for name, value, text in _constants(registers):
        shown = " ".join(value) if isinstance(value, tuple) else value
        yield f"| {name} | `{shown}` | {' '.join(str(text).split())} |"
    yield ""


_HEAD: Final = """\
# The pipeline on the NIC bridge

Made by `python -m docs.generate_pipeline` from the table list and the compiler; edit those, not this file.

The list of tables stands in [tables.py](../ryu_apps/pipeline/tables.py).
An entry that breaks the line of its table is refused when it is compiled.
Numbers are places in this list: code and this page use names.
"""

_EXAMPLE: Final = """\
## The example

The dumps below are what the compiler makes for host `h1` of a small policy:

* tenant `red` with its own segment `red` (number 1), whose VFs the outside sees by their own VLANs,
  and a segment `office` (number 2), which the outside knows as VLAN 200;
* `vm1` (VF VLAN 101, addresses 10.0.0.1 and fd00::1) and `vm2` (VF VLAN 102, any address) on `h1`, `vm4` (104) on `h2`;
* `vm2` has a synthetic port beside its VF, and its misses go back through the VM;
* a trunk `router` (VF VLAN 103), whose VM may tag frames with 200;
* a layer `balancer` that translates 10.0.0.100:80 to `vm2`, port 8080,
  and a stateful layer `firewall` that lets nothing in but TCP to port 8080.

`vm1` has begun two connections: one to 10.0.0.100:80, which is translated and allowed both ways,
and one to port 22 of `vm2`, which `vm2`'s inbound rules deny.
Ports 1 to 3 of the bridge are the VFs' representors, port 4 is the uplink and port 5 the synthetic port of `vm2`.
Entries are in the syntax of `ovs-ofctl`, highest priority first, with tables by name instead of number.
"""


def document() -> str:
    """Return the text of docs/pipeline.md."""
    entries = example_entries(example_policy())
    parts = [_HEAD, *_overview(), "", _EXAMPLE]
    for table in TABLES:
        parts += _table_section(table, entries)
    parts += hairpin_section()
    parts += [*_register_section(), *_cookie_section()]
    return "\n".join(parts).rstrip() + "\n"


if __name__ == "__main__":
    TARGET.write_text(document())

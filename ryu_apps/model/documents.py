"""The written form of every resource, as plain JSON values: to a document and back.

The store keeps these documents and REST speaks them.
They differ in two places only, which `api.forms` bridges:
a document names the segments of a trunk by id where REST gives VLANs, and it holds a segment's number.
A document is taken to have the right names and types; `api.schemas` sees to that for what clients send.
"""

from __future__ import annotations

import re

from ryu_apps.model.address import format_mac, parse_unicast_mac
from ryu_apps.model.chain import Chain, Function
from ryu_apps.model.chain_documents import chain_document, function_document, parse_chain, parse_function
from ryu_apps.model.datapath_id import parse_dpid
from ryu_apps.model.errors import Invalid
from ryu_apps.model.faults import Faults
from ryu_apps.model.hairpin import Outlet
from ryu_apps.model.hairpin_documents import hairpin_document, outlet_document, parse_hairpin, parse_outlet
from ryu_apps.model.nat_pool import (
    DEFAULT_PORTS,
    DEFAULT_REST_S,
    AddressRange,
    NatPool,
    default_mac,
    parse_addresses,
    parse_ports,
)
from ryu_apps.model.network import Host, MissPath, Route, Segment, Tenant, Vport
from ryu_apps.model.nic_limits import NicLimits
from ryu_apps.model.policy import GroupKey, Resource, RuleKey
from ryu_apps.model.rights import ADMIN
from ryu_apps.model.rule_documents import Document, group_document, parse_group, parse_rule, rule_document
from ryu_apps.model.rules import Direction, Group, Layer, Rule
from ryu_apps.model.turns import Pause, no_pause
from ryu_apps.model.vport_documents import parse_vport, vport_document

ID_PATTERN = r"[A-Za-z0-9._-]{1,64}"
_ID = re.compile(ID_PATTERN)


def parse_id(text: str) -> str:
    """Return the id of a resource; ValueError unless it is 1 to 64 of A-Z a-z 0-9 . _ - and not "." or ".."."""
    if not _ID.fullmatch(text) or text in (".", ".."):
        raise ValueError(f"{text[:80]!r} is not an id: 1 to 64 of letters, digits, '.', '_' and '-'")
    return text


def to_document(resource: Resource, pause: Pause = no_pause) -> Document:
    """Return the document of a resource, without its id."""
    match resource:
        case Host():
            return _host_document(resource)
        case Tenant():
            return {}
        case Segment():
            return _segment_document(resource)
        case Vport():
            return vport_document(resource)
        case Route():
            target: Document = {"to": "uplink"} if resource.vport is None else {"vport": resource.vport}
            return {"segment": resource.segment, "eth_dst": format_mac(resource.eth_dst), **target}
        case Outlet():
            return outlet_document(resource)
        case Function():
            return function_document(resource)
        case Chain():
            return chain_document(resource)
        case NatPool():
            return _pool_document(resource)
        case Layer():
            default = {way.value: "allow" if resource.allows_by_default(way) else "deny" for way in Direction}
            return {
                "position": resource.position,
                "stateful": resource.stateful,
                "owner": resource.owner,
                "default": default,
            }
        case Group():
            return group_document(resource, pause)
        case Rule():
            return rule_document(resource)


def from_document(
    kind: str, key: str | GroupKey | RuleKey, document: Document, pause: Pause = no_pause
) -> Resource:
    """Return the resource of a document; Invalid names every field whose value cannot be accepted."""
    match key:
        case (layer, group):
            return parse_group(layer, group, document, pause)
        case (_, _, rule):
            return parse_rule(rule, document)
        case str():
            return _from_named(kind, key, document)


def _from_named(kind: str, key: str, document: Document) -> Resource:
    match kind:
        case "hosts":
            return _parse_host(key, document)
        case "tenants":
            return Tenant(id=key)
        case "segments":
            outside = {name: document.get(name) for name in ("vlan", "vni", "chain")}
            return Segment(id=key, tenant=document["tenant"], number=document["number"], **outside)
        case "vports":
            return parse_vport(key, document)
        case "routes":
            return _parse_route(key, document)
        case "outlets":
            return parse_outlet(key, document)
        case "functions":
            return parse_function(key, document)
        case "chains":
            return parse_chain(key, document)
        case "nat_pools":
            return _parse_pool(key, document)
        case "layers":
            return _parse_layer(key, document)
    raise ValueError(f"{kind!r} is not a kind of resource")


def _parse_host(key: str, document: Document) -> Host:
    faults = Faults()
    dpid = faults.attempt("dpid", parse_dpid, document["dpid"])
    if dpid is None:
        raise faults.refusal("the host cannot be accepted")
    uplink, tunnel = document.get("uplink"), document.get("tunnel")
    if tunnel is not None and tunnel == uplink:
        raise Invalid.at("tunnel", "is the uplink too")
    limits = _parse_limits(document.get("limits") or {})
    miss = MissPath(document.get("miss", "pf"))
    hairpin = parse_hairpin(document.get("hairpin"))
    return Host(id=key, dpid=dpid, uplink=uplink, tunnel=tunnel, limits=limits, miss=miss, hairpin=hairpin)


def _segment_document(segment: Segment) -> Document:
    document: Document = {
        "tenant": segment.tenant,
        "vlan": segment.vlan,
        "vni": segment.vni,
        "number": segment.number,
    }
    return document if segment.chain is None else {**document, "chain": segment.chain}


def _host_document(host: Host) -> Document:
    document: Document = {
        "dpid": f"{host.dpid:016x}",
        "uplink": host.uplink,
        "tunnel": host.tunnel,
        "limits": _limits_document(host.limits),
        "miss": host.miss.value,
    }
    return document if host.hairpin is None else {**document, "hairpin": hairpin_document(host.hairpin)}


def _limits_document(limits: NicLimits) -> Document:
    return {
        "outbound_entries": limits.outbound_entries,
        "inbound_entries": limits.inbound_entries,
        "actions": None if limits.actions is None else sorted(limits.actions),
        "meters": limits.meters,
        "uplink_kbps": limits.uplink_kbps,
    }


def _parse_limits(document: Document) -> NicLimits:
    actions = document.get("actions")
    return NicLimits(
        outbound_entries=document.get("outbound_entries"),
        inbound_entries=document.get("inbound_entries"),
        actions=None if actions is None else frozenset(actions),
        meters=document.get("meters"),
        uplink_kbps=document.get("uplink_kbps"),
    )


def _parse_route(key: str, document: Document) -> Route:
    faults = Faults()
    eth_dst = faults.attempt("eth_dst", parse_unicast_mac, document["eth_dst"])
    vport, uplink = document.get("vport"), document.get("to")
    if vport is not None and uplink is not None:
        faults.add("to", 'give either a vport or "to": "uplink", not both')
    if vport is None and uplink is None:
        faults.add("vport", 'is required, or "to": "uplink" instead')
    faults.refuse("the route cannot be accepted")
    return Route(id=key, segment=document["segment"], eth_dst=eth_dst or 0, vport=vport)


def _pool_document(pool: NatPool) -> Document:
    return {
        "segment": pool.segment,
        "host": pool.host,
        "mac": format_mac(pool.mac),
        "addresses": [str(part) for part in pool.addresses],
        "ports": "{}-{}".format(*pool.ports),
        "most_per_vport": pool.most_per_vport,
        "rest_s": pool.rest_s,
    }


def _parse_pool(key: str, document: Document) -> NatPool:
    faults = Faults()
    mac, written = document.get("mac"), document.get("ports")
    station = default_mac(key) if mac is None else faults.attempt("mac", parse_unicast_mac, mac)
    ports = DEFAULT_PORTS if written is None else faults.attempt("ports", parse_ports, written)
    parts: list[AddressRange] = []
    for index, text in enumerate(document["addresses"]):
        part = faults.attempt(f"addresses[{index}]", parse_addresses, text)
        if part is not None and any(part.overlaps(other) for other in parts):
            faults.add(f"addresses[{index}]", f"{text!r} is given twice")
        elif part is not None:
            parts.append(part)
    faults.refuse("the pool cannot be accepted")
    return NatPool(
        id=key,
        segment=document["segment"],
        host=document["host"],
        mac=station or 0,
        addresses=tuple(parts),
        ports=ports or DEFAULT_PORTS,
        most_per_vport=document.get("most_per_vport"),
        rest_s=document.get("rest_s", DEFAULT_REST_S),
    )


def _parse_layer(key: str, document: Document) -> Layer:
    default = document.get("default") or {}
    return Layer(
        id=key,
        position=document["position"],
        stateful=document.get("stateful", False),
        owner=document.get("owner", ADMIN),
        default_allow=tuple((way, default.get(way.value, "allow") == "allow") for way in Direction),
    )

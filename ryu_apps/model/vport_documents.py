"""The written form of vports; see `model.documents`."""

from __future__ import annotations

from collections.abc import Sequence

from ryu_apps.model.address import format_ip, format_mac, parse_address, parse_unicast_mac
from ryu_apps.model.faults import Faults
from ryu_apps.model.network import MISS_RATE_PPS, Bandwidth, Vport, VportKind
from ryu_apps.model.rule_documents import Document


def vport_document(vport: Vport) -> Document:
    """Return the document of a vport."""
    document: Document = {
        "host": vport.host,
        "port": vport.port,
        "kind": vport.kind.value,
        "tenant": vport.tenant,
        "mac": format_mac(vport.mac),
        "ips": [format_ip(version, value) for version, value in vport.ips],
        "vlan": vport.vlan,
        "bandwidth": {
            "outbound_kbps": vport.bandwidth.outbound_kbps,
            "inbound_kbps": vport.bandwidth.inbound_kbps,
        },
        "miss_rate_pps": vport.miss_rate_pps,
        "priority": vport.priority,
        "synthetic": vport.synthetic,
    }
    if vport.subinterface is not None:
        document["subinterface"] = vport.subinterface
    if vport.kind is VportKind.TRUNK:
        return {**document, "trunk": list(vport.trunk)}
    return {**document, "segment": vport.segment}


def parse_vport(key: str, document: Document) -> Vport:
    """Return the vport of a document; Invalid names every field whose value cannot be accepted."""
    faults = Faults()
    kind = VportKind(document.get("kind", "vf"))
    mac = faults.attempt("mac", parse_unicast_mac, document["mac"])
    ips: list[tuple[int, int]] = []
    for index, text in enumerate(document.get("ips", ())):
        address = faults.attempt(f"ips[{index}]", parse_address, text)
        if address in ips:
            faults.add(f"ips[{index}]", f"{text!r} is given twice")
        elif address is not None:
            ips.append(address)
    segment, trunk = document.get("segment"), document.get("trunk") or ()
    _check_attachment(kind, segment, trunk, faults)
    if document.get("synthetic") == document["port"]:
        faults.add("synthetic", "is the VF's port")
    faults.refuse("the vport cannot be accepted")
    if kind is VportKind.VF and segment is None:
        segment = document["tenant"]
    return Vport(
        id=key,
        host=document["host"],
        port=document["port"],
        kind=kind,
        tenant=document["tenant"],
        segment=segment,
        mac=mac or 0,
        ips=tuple(ips),
        vlan=document["vlan"],
        trunk=tuple(trunk),
        subinterface=document.get("subinterface"),
        bandwidth=Bandwidth(**(document.get("bandwidth") or {})),
        miss_rate_pps=document.get("miss_rate_pps", MISS_RATE_PPS),
        priority=document.get("priority", 0),
        synthetic=document.get("synthetic"),
    )


def _check_attachment(kind: VportKind, segment: str | None, trunk: Sequence[str], faults: Faults) -> None:
    if kind is VportKind.VF and trunk:
        faults.add("trunk", "only a vport of kind trunk has one")
    if kind is VportKind.TRUNK and not trunk:
        faults.add("trunk", "a vport of kind trunk needs at least one VLAN")
    if kind is VportKind.TRUNK and segment is not None:
        faults.add("segment", "a vport of kind trunk has none of its own")
    for index, name in enumerate(trunk):
        if name in trunk[:index]:
            faults.add(f"trunk[{index}]", f"{name!r} is given twice")

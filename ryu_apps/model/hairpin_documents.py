"""The written form of hairpins and outlets."""

from __future__ import annotations

from ryu_apps.model.address import format_mac, parse_unicast_mac
from ryu_apps.model.datapath_id import parse_dpid
from ryu_apps.model.faults import Faults
from ryu_apps.model.hairpin import AnyHairpin, Fail, FunctionPort, Hairpin, MacSteering, NetworkPort, Outlet
from ryu_apps.model.rule_documents import Document


def hairpin_document(hairpin: AnyHairpin) -> Document:
    """Return the document of a host's hairpin."""
    second = hairpin.network_port
    common = {
        "network_port": None if second is None else {"dpid": f"{second.dpid:016x}", "uplink": second.uplink},
        "fail": hairpin.fail.value,
    }
    if isinstance(hairpin, MacSteering):
        return {"steering": "mac", **common}
    first = hairpin.function_port
    cable = {"cable": hairpin.cable, "function_port": {"dpid": f"{first.dpid:016x}", "cable": first.cable}}
    return {"steering": "vlan", **cable, **common}


def parse_hairpin(document: Document | None) -> AnyHairpin | None:
    """Return the hairpin of a document; Invalid names every field whose value cannot be accepted."""
    if document is None:
        return None
    faults = Faults()
    first, second = document.get("function_port"), document.get("network_port")
    dpid = None if first is None else faults.attempt("hairpin.function_port.dpid", parse_dpid, first["dpid"])
    away = None if second is None else faults.attempt("hairpin.network_port.dpid", parse_dpid, second["dpid"])
    faults.refuse("the host cannot be accepted")
    network_port = None if second is None else NetworkPort(dpid=away or 0, uplink=second["uplink"])
    fail = Fail(document.get("fail", "closed"))
    if first is None:
        return MacSteering(network_port=network_port, fail=fail)
    function_port = FunctionPort(dpid=dpid or 0, cable=first["cable"])
    return Hairpin(cable=document["cable"], function_port=function_port, network_port=network_port, fail=fail)


def outlet_document(outlet: Outlet) -> Document:
    """Return the document of an outlet, without its id."""
    document: Document = {
        "host": outlet.host,
        "segment": outlet.segment,
        "port": outlet.port,
        "macs": [format_mac(mac) for mac in outlet.macs],
    }
    return document if outlet.chain_port is None else {**document, "chain_port": outlet.chain_port}


def parse_outlet(key: str, document: Document) -> Outlet:
    """Return the outlet of a document; Invalid names every field whose value cannot be accepted."""
    faults = Faults()
    macs: list[int] = []
    for index, text in enumerate(document.get("macs") or ()):
        mac = faults.attempt(f"macs[{index}]", parse_unicast_mac, text)
        if mac in macs:
            faults.add(f"macs[{index}]", f"{text!r} is given twice")
        elif mac is not None:
            macs.append(mac)
    faults.refuse("the outlet cannot be accepted")
    return Outlet(
        id=key,
        host=document["host"],
        segment=document["segment"],
        port=document["port"],
        macs=tuple(macs),
        chain_port=document.get("chain_port"),
    )

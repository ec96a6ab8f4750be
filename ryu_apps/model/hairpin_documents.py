"""The written form of hairpins and outlets."""

from __future__ import annotations

from ryu_apps.model.address import format_mac, parse_unicast_mac
from ryu_apps.model.datapath_id import parse_dpid
from ryu_apps.model.faults import Faults
from ryu_apps.model.hairpin import Fail, FunctionPort, Hairpin, NetworkPort, Outlet
from ryu_apps.model.rule_documents import Document


def hairpin_document(hairpin: Hairpin) -> Document:
    """Return the document of a host's hairpin."""
    first, second = hairpin.function_port, hairpin.network_port
    return {
        "cable": hairpin.cable,
        "function_port": {"dpid": f"{first.dpid:016x}", "cable": first.cable},
        "network_port": None if second is None else {"dpid": f"{second.dpid:016x}", "uplink": second.uplink},
        "fail": hairpin.fail.value,
    }


def parse_hairpin(document: Document | None) -> Hairpin | None:
    """Return the hairpin of a document; Invalid names every field whose value cannot be accepted."""
    if document is None:
        return None
    faults = Faults()
    first, second = document["function_port"], document.get("network_port")
    dpid = faults.attempt("hairpin.function_port.dpid", parse_dpid, first["dpid"])
    away = None if second is None else faults.attempt("hairpin.network_port.dpid", parse_dpid, second["dpid"])
    faults.refuse("the host cannot be accepted")
    return Hairpin(
        cable=document["cable"],
        function_port=FunctionPort(dpid=dpid or 0, cable=first["cable"]),
        network_port=None if second is None else NetworkPort(dpid=away or 0, uplink=second["uplink"]),
        fail=Fail(document.get("fail", "closed")),
    )


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

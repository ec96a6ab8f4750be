"""The written form of functions and chains."""

from __future__ import annotations

from ryu_apps.model.address import format_mac, parse_unicast_mac
from ryu_apps.model.chain import Chain, Function, Instance
from ryu_apps.model.faults import Faults
from ryu_apps.model.hairpin import Fail
from ryu_apps.model.probe_documents import packet_document, parse_packet, parse_probe, probe_document
from ryu_apps.model.rule_documents import Document


def function_document(function: Function) -> Document:
    """Return the document of a function, without its id."""
    return {
        "instances": {one.id: _instance_document(one) for one in function.instances},
        "rewriting": function.rewriting,
        "keeps_apart": function.keeps_apart,
        "probe": None if function.probe is None else probe_document(function.probe),
    }


def _instance_document(instance: Instance) -> Document:
    return {
        "host": instance.host,
        "inside": instance.inside,
        "outside": instance.outside,
        "weight": instance.weight,
        "macs": [format_mac(mac) for mac in instance.macs],
        "probe_packet": packet_document(instance.probe_packet),
    }


def parse_function(key: str, document: Document) -> Function:
    """Return the function of a document; Invalid names every field whose value cannot be accepted."""
    faults = Faults()
    instances = [_parse_instance(name, one, faults) for name, one in sorted((document.get("instances") or {}).items())]
    probe = parse_probe(document.get("probe"), faults)
    faults.refuse("the function cannot be accepted")
    return Function(
        id=key,
        instances=tuple(instances),
        rewriting=document.get("rewriting", False),
        keeps_apart=document.get("keeps_apart", False),
        probe=probe,
    )


def _parse_instance(key: str, document: Document, faults: Faults) -> Instance:
    macs: list[int] = []
    for index, text in enumerate(document.get("macs") or ()):
        path = f"instances.{key}.macs[{index}]"
        mac = faults.attempt(path, parse_unicast_mac, text)
        if mac in macs:
            faults.add(path, f"{text!r} is given twice")
        elif mac is not None:
            macs.append(mac)
    packet = parse_packet(document.get("probe_packet") or {}, f"instances.{key}.probe_packet", faults)
    return Instance(
        id=key,
        host=document["host"],
        inside=document["inside"],
        outside=document["outside"],
        weight=document.get("weight", 1),
        macs=tuple(macs),
        probe_packet=tuple(sorted(packet.items())),
    )


def chain_document(chain: Chain) -> Document:
    """Return the document of a chain, without its id."""
    return {
        "tenant": chain.tenant,
        "segment": chain.segment,
        "hops": list(chain.hops),
        "fail": chain.fail.value,
        "symmetric_return": chain.symmetric_return,
        "vlan": chain.vlan,
        "mark": chain.mark,
    }


def parse_chain(key: str, document: Document) -> Chain:
    """Return the chain of a document; the segment is the tenant's own unless given."""
    return Chain(
        id=key,
        tenant=document["tenant"],
        segment=document.get("segment") or document["tenant"],
        hops=tuple(document["hops"]),
        mark=document["mark"],
        fail=Fail(document.get("fail", "closed")),
        symmetric_return=document.get("symmetric_return", True),
        vlan=document.get("vlan"),
    )

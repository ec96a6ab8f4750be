"""The written form of probes."""

from __future__ import annotations

from typing import Any, Final

from ryu_apps.model.address import format_ipv4, format_mac, parse_address, parse_unicast_mac
from ryu_apps.model.faults import Faults
from ryu_apps.model.probe import MOST_UNDER_WAY, Probe, ProbePacket
from ryu_apps.model.rule_documents import Document

_TIMES: Final = ("interval_ms", "timeout_ms", "fall", "rise")


def probe_document(probe: Probe) -> Document:
    """Return the document of a probe."""
    packet = probe.packet
    return {
        **{name: getattr(probe, name) for name in _TIMES},
        "packet": {
            "eth_src": format_mac(packet.eth_src),
            "eth_dst": format_mac(packet.eth_dst),
            "ipv4_src": format_ipv4(packet.ipv4_src),
            "ipv4_dst": format_ipv4(packet.ipv4_dst),
            "udp_src": packet.udp_src,
            "udp_dst": packet.udp_dst,
        },
    }


def parse_probe(document: Document | None, faults: Faults) -> Probe | None:
    """Return the probe of a document, None for none; what cannot be accepted is added to the faults."""
    if document is None:
        return None
    packet: dict[str, Any] = dict(document.get("packet") or {})
    for name, parse in (("eth_src", parse_unicast_mac), ("eth_dst", parse_unicast_mac),
                        ("ipv4_src", _parse_ipv4), ("ipv4_dst", _parse_ipv4)):  # fmt: skip
        if name in packet:
            found = faults.attempt(f"probe.packet.{name}", parse, packet.pop(name))
            if found is not None:
                packet[name] = found
    probe = Probe(packet=ProbePacket(**packet), **{name: document[name] for name in _TIMES if name in document})
    if probe.timeout_ms > MOST_UNDER_WAY * probe.interval_ms:
        faults.add("probe.timeout_ms", f"is at most {MOST_UNDER_WAY} times interval_ms")
    if probe.packet.eth_src == probe.packet.eth_dst:
        faults.add("probe.packet.eth_dst", "is eth_src too")
    return probe


def _parse_ipv4(text: str) -> int:
    """Return an IPv4 address; ValueError for any other text."""
    version, value = parse_address(text)
    if version != 4:
        raise ValueError(f"{text!r} is not an IPv4 address")
    return value

"""The written form of probes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Final

from ryu_apps.model.address import format_ipv4, format_mac, parse_address, parse_unicast_mac
from ryu_apps.model.faults import Faults
from ryu_apps.model.probe import MOST_UNDER_WAY, Probe, ProbePacket
from ryu_apps.model.rule_documents import Document

_TIMES: Final = ("interval_ms", "timeout_ms", "fall", "rise")
_FORMATS: Final = {
    "eth_src": format_mac, "eth_dst": format_mac, "ipv4_src": format_ipv4, "ipv4_dst": format_ipv4,
}  # fmt: skip


def probe_document(probe: Probe) -> Document:
    """Return the document of a probe."""
    headers = [(each.name, getattr(probe.packet, each.name)) for each in fields(ProbePacket)]
    return {**{name: getattr(probe, name) for name in _TIMES}, "packet": packet_document(headers)}


def packet_document(headers: Iterable[tuple[str, int]]) -> Document:
    """Return the document of headers of a probe."""
    return {name: _FORMATS[name](value) if name in _FORMATS else value for name, value in headers}


def parse_probe(document: Document | None, faults: Faults) -> Probe | None:
    """Return the probe of a document, None for none; what cannot be accepted is added to the faults."""
    if document is None:
        return None
    packet = ProbePacket(**parse_packet(document.get("packet") or {}, "probe.packet", faults))
    probe = Probe(packet=packet, **{name: document[name] for name in _TIMES if name in document})
    if probe.timeout_ms > MOST_UNDER_WAY * probe.interval_ms:
        faults.add("probe.timeout_ms", f"is at most {MOST_UNDER_WAY} times interval_ms")
    if packet.eth_src == packet.eth_dst:
        faults.add("probe.packet.eth_dst", "is eth_src too")
    return probe


def parse_packet(document: Document, path: str, faults: Faults) -> dict[str, int]:
    """Return the headers of a probe in a document, by name; what cannot be accepted is added to the faults."""
    found = {}
    for name, text in document.items():
        parse = _PARSERS.get(name)
        value = text if parse is None else faults.attempt(f"{path}.{name}", parse, text)
        if value is not None:
            found[name] = value
    return found


def _parse_ipv4(text: str) -> int:
    """Return an IPv4 address; ValueError for any other text."""
    version, value = parse_address(text)
    if version != 4:
        raise ValueError(f"{text!r} is not an IPv4 address")
    return value


_PARSERS: Final = {
    "eth_src": parse_unicast_mac, "eth_dst": parse_unicast_mac, "ipv4_src": _parse_ipv4, "ipv4_dst": _parse_ipv4,
}  # fmt: skip

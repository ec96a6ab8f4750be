"""Entries of the tables beside the way: one for each meter, and one for each port that copies go to."""

from __future__ import annotations

from collections.abc import Iterator

from ryu_apps.engine.policy import Policy
from ryu_apps.model.network import Host, Vport
from ryu_apps.pipeline.cookie import Cookie, EntryClass
from ryu_apps.pipeline.entry import FlowEntry, Output, entry
from ryu_apps.pipeline.meters import rule_configs
from ryu_apps.pipeline.registers import COPY, METER


def rule_meters(policy: Policy, host: Host) -> tuple[int, ...]:
    """Return the numbers of the meters that rules have on a host, ascending."""
    return tuple(sorted(config.number for config in rule_configs(policy, host.id)))


def meter_entries(numbers: tuple[int, ...]) -> Iterator[FlowEntry]:
    """Yield the entry of each rule's meter.

    OpenFlow 1.4 meters by an instruction, one for an entry; a look-up for each meter lets one packet pass several.
    """
    cookie = Cookie(EntryClass.BASE).pack()
    for number in numbers:
        yield entry("meter", 100, {METER: number}, cookie=cookie, meter=number)


def connection_meter_entry(number: int, vport: int, connection: int) -> FlowEntry:
    """Return the entry of a meter that one connection, by flow id, has at a vport."""
    cookie = Cookie(EntryClass.METER, vport=vport, detail=connection).pack()
    return entry("meter", 100, {METER: number}, cookie=cookie, meter=number)


def mirror_entry(vport: Vport, port_no: int) -> FlowEntry:
    """Return the way out of copies for a vport of the host; no policy of the vport is asked."""
    cookie = Cookie(EntryClass.BASE, vport=vport.number).pack()
    return entry("mirror", 100, {COPY: vport.number}, Output(port_no), cookie=cookie)

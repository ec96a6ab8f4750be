"""Standing entries of the tables beside the way: one for each meter of a rule, one for each port that copies go to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ryu_apps.engine.policy import Policy
from ryu_apps.model.network import Host, Vport
from ryu_apps.model.rules import Direction
from ryu_apps.pipeline.cookie import Cookie, EntryClass
from ryu_apps.pipeline.entry import FlowEntry, Output, entry
from ryu_apps.pipeline.meters import bandwidth_meter, host_meters
from ryu_apps.pipeline.registers import COPY, METER


def meter_entries(policy: Policy, host: Host) -> Iterator[FlowEntry]:
    """Yield the entry of each rule's meter.

    OpenFlow 1.4 meters by an instruction, one for an entry; a look-up for each meter lets one packet pass several.
    """
    vports = policy.snapshot.vports.values()
    of_vports = {bandwidth_meter(vport, direction) for vport in vports for direction in Direction}
    cookie = Cookie(EntryClass.BASE).pack()
    for number in sorted(host_meters(policy, host.id).keys() - of_vports):
        yield entry("meter", 100, {METER: number}, cookie=cookie, meter=number)


def mirror_entries(local: Iterable[Vport], ports: Mapping[str, int]) -> Iterator[FlowEntry]:
    """Yield the way out of copies for each vport of the host; no policy of the vport is asked."""
    for vport in local:
        cookie = Cookie(EntryClass.BASE, vport=vport.number).pack()
        yield entry("mirror", 100, {COPY: vport.number}, Output(ports[vport.port]), cookie=cookie)

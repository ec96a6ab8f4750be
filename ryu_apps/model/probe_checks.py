"""What must hold between probes and the rest: nobody else sends with a probe's MAC."""

from __future__ import annotations

from collections.abc import Iterator

from ryu_apps.model.address import format_mac
from ryu_apps.model.chain import Function
from ryu_apps.model.errors import FieldError
from ryu_apps.model.network import Vport
from ryu_apps.model.policy import Snapshot


def probe_clashes(after: Snapshot, value: object) -> Iterator[FieldError]:
    """Yield where a probe would be sent with the MAC of a VF: functions would learn that the VF is elsewhere."""
    match value:
        case Function():
            owners = {vport.mac: vport.id for vport in after.vports.values()}
            for path, mac in _sources(value):
                if mac in owners:
                    yield FieldError(f"{path}.eth_src", f"{format_mac(mac)} is the MAC of vport {owners[mac]!r}")
        case Vport(mac=mac):
            for function in after.functions.values():
                if any(mac == source for _, source in _sources(function)):
                    yield FieldError("mac", f"probes of function {function.id!r} are sent with {format_mac(mac)}")


def _sources(function: Function) -> Iterator[tuple[str, int]]:
    """Yield the MACs with which probes of a function are sent, each after the path of the packet that says so."""
    if function.probe is None:
        return
    yield "probe.packet", function.probe.packet.eth_src
    for one in function.instances:
        own = dict(one.probe_packet).get("eth_src")
        if own is not None:
            yield f"instances.{one.id}.probe_packet", own


def probe_faults(function: Function) -> Iterator[FieldError]:
    """Yield what instances say of probes that cannot be: there are none, or they go to where they are from."""
    for one in function.instances:
        path, probe = f"instances.{one.id}.probe_packet", function.probe_of(one)
        if one.probe_packet and probe is None:
            yield FieldError(path, "the function has no probe")
        elif one.probe_packet and probe is not None and probe.packet.eth_src == probe.packet.eth_dst:
            yield FieldError(path, "eth_dst is eth_src too")

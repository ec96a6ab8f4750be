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
        case Function(probe=probe) if probe is not None:
            mac = probe.packet.eth_src
            for vport in after.vports.values():
                if vport.mac == mac:
                    yield FieldError("probe.packet.eth_src", f"{format_mac(mac)} is the MAC of vport {vport.id!r}")
        case Vport(mac=mac):
            for function in after.functions.values():
                if function.probe is not None and function.probe.packet.eth_src == mac:
                    yield FieldError("mac", f"probes of function {function.id!r} are sent with {format_mac(mac)}")

"""From the action of a rule to the treatment of packets at one vport: names become numbers."""

from __future__ import annotations

from collections.abc import Mapping

from ryu_apps.engine.meter_id import meter_id
from ryu_apps.engine.ruling import Ruling
from ryu_apps.model.action import Encapsulate, Meter, Mirror, Per, Prioritise, Reroute, SkipChain, ThroughChain
from ryu_apps.model.chain import Chain
from ryu_apps.model.network import Vport
from ryu_apps.model.transposition import IDENTITY
from ryu_apps.model.treatment import ByChain, Copied, Metered, PastFunctions, ToTunnel, ToVport, Treatment


class Treat:
    """What rules that treat packets do at one vport; a vport is not mirrored or routed to itself."""

    __slots__ = ("_chains", "_vport", "_vports")

    def __init__(self, vport: Vport, vports: Mapping[str, Vport], chains: Mapping[str, Chain]) -> None:
        self._vport = vport
        self._vports = vports
        self._chains = chains

    def __call__(self, ruling: Ruling) -> Treatment:
        """Return what a ruling does beside its edit."""
        match ruling.treats:
            case Meter() as meter:
                number = meter_id(self._vport.id, ruling.layer, ruling.group or "", ruling.rule or "")
                return Treatment(steps=(Metered(number, meter if meter.per is Per.CONNECTION else None),))
            case Mirror(vport=name) if name != self._vport.id:
                return Treatment(steps=(Copied(self._vports[name].number, IDENTITY),))
            case Reroute(vport=name) if name != self._vport.id:
                return Treatment(exit=ToVport(self._vports[name].number))
            case Encapsulate(remote=(version, address), vni=vni):
                return Treatment(exit=ToTunnel(version, address, vni))
            case SkipChain():
                return Treatment(exit=PastFunctions())
            case ThroughChain(chain=name):
                return Treatment(exit=ByChain(self._chains[name].mark))
            case Prioritise(priority):
                return Treatment(priority=priority)
        return Treatment()

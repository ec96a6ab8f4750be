"""Network functions at work in a Mininet host's namespace: what they are, and what may befall them.

Each kind is started between given interfaces, stopped, killed, frozen and resumed in the same words.
"""

from mininet_scripts.support.functions.bridge import Bridge
from mininet_scripts.support.functions.conditions import filtering, reflecting, stopped, unplugged
from mininet_scripts.support.functions.filter import FilteringBridge, FilteringRouter
from mininet_scripts.support.functions.function import NetworkFunction, State
from mininet_scripts.support.functions.nat import SourceNat
from mininet_scripts.support.functions.proxy import Proxy
from mininet_scripts.support.functions.router import Router
from mininet_scripts.support.functions.shaper import Shaper

__all__ = [
    "Bridge",
    "FilteringBridge",
    "FilteringRouter",
    "NetworkFunction",
    "Proxy",
    "Router",
    "Shaper",
    "SourceNat",
    "State",
    "filtering",
    "reflecting",
    "stopped",
    "unplugged",
]

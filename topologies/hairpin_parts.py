"""What hairpin topologies are built of besides: the other ports of a NIC, and hosts that are network functions."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from mininet.node import Host
from mininet.topo import Topo

from topologies.parts import NicBridge, add_nic_bridge, add_vm

FUNCTION_PORT_DPID, NETWORK_PORT_DPID = 0x100, 0x200
# Sub-interfaces on the VFs' bridge are numbered from here on, representors below.
FIRST_SUB_INTERFACE = 2000


class FunctionPort(NicBridge):
    """NIC port 2: its ports are the sub-interfaces toward functions, and the cable to the VFs' bridge."""


class NetworkPort(NicBridge):
    """NIC port 3, or 2 without a cable: its ports are the outlets of segments, and the uplink."""


class BridgeFunction(Host):
    """A network function that is a Linux bridge over all its interfaces: transparent, and it learns who is where."""

    def config(self, **params: Any) -> dict[str, Any]:
        """Return what was configured: a bridge without addresses of its own, so that it says nothing itself."""
        done: dict[str, Any] = super().config(**params)
        self.cmd("sysctl -qw net.ipv6.conf.all.disable_ipv6=1")
        self.cmd("ip link add br0 type bridge forward_delay 0 mcast_snooping 0")
        for interface in self.intfNames():
            self.cmd(f"ethtool -K {interface} rx off tx off tso off gso off gro off")
            self.cmd(f"ip link set {interface} master br0 up")
        self.cmd("ip link set br0 up")
        return done


class ChainFunction(BridgeFunction):
    """An instance of a function of chains, which begins as a wire between its inside and its outside."""

    def __init__(self, name: str, function: str = "", at: str = "", **params: Any) -> None:
        super().__init__(name, **params)
        self.function = function
        self.at = at

    @property
    def inside(self) -> str:
        """The name of its interface toward the VMs."""
        return f"{self.name}-in"

    @property
    def outside(self) -> str:
        """The name of its interface away from the VMs."""
        return f"{self.name}-out"

    def config(self, **params: Any) -> dict[str, Any]:
        """Return what was configured."""
        done = super().config(**params)
        # A chain is passed in both directions by frames of the same MACs: who learned them would drop some.
        for interface in self.intfNames():
            self.cmd(f"bridge link set dev {interface} learning off")
        return done


def function_port_of(bridge: str) -> str:
    """Return the name of NIC port 2 of the host whose VFs' bridge has this name."""
    return f"{bridge}f"


def network_port_of(bridge: str) -> str:
    """Return the name of the NIC port toward the network of the host whose VFs' bridge has this name."""
    return f"{bridge}n"


def add_hairpin_nic(topo: Topo, number: int, vfs: int, first_vm: int) -> str:
    """Return the name of a new VFs' bridge with its VMs, its cable and NIC ports 2 and 3 beside it."""
    bridge = add_steered_nic(topo, number, vfs, first_vm)
    functions = function_port_of(bridge)
    topo.addSwitch(functions, cls=FunctionPort, dpid=f"{FUNCTION_PORT_DPID + number:x}")
    topo.addLink(
        bridge, functions, intfName1=f"{bridge}-cable", port1=vfs + 1, intfName2=f"{functions}-cable", port2=vfs + 1
    )
    return bridge


def add_steered_nic(topo: Topo, number: int, vfs: int, first_vm: int) -> str:
    """Return the name of a new VFs' bridge with its VMs, and the NIC port toward the network beside it; no cable."""
    bridge = add_nic_bridge(topo, number)
    topo.addSwitch(network_port_of(bridge), cls=NetworkPort, dpid=f"{NETWORK_PORT_DPID + number:x}")
    for vf in range(1, vfs + 1):
        add_vm(topo, bridge, vf=vf, number=first_vm + vf - 1)
    return bridge


def sub_interface_of(nodes: Container[str], bridge: str, vf: int) -> tuple[str, str, int]:
    """Return where a VF's sub-interface is, one of these nodes, with its name and port number."""
    functions = function_port_of(bridge)
    if functions in nodes:
        return functions, f"{functions}-vf{vf}", vf
    return bridge, f"{bridge}-sub{vf}", FIRST_SUB_INTERFACE + vf


def attach(topo: Topo, function: str, bridge: str, *vfs: int, outlet: str | None = None) -> None:
    """Connect a function to the sub-interfaces of VFs, and to the outlet of a segment where one is named."""
    for vf in vfs:
        node, name, port_no = sub_interface_of(topo.nodes(), bridge, vf)
        topo.addLink(function, node, intfName1=f"{function}-vf{vf}", intfName2=name, port2=port_no)
    if outlet is not None:
        network = network_port_of(bridge)
        topo.addLink(function, network, intfName1=f"{function}-out", intfName2=f"{network}-{outlet}")


def add_instance(topo: Topo, bridge: str, function: str, name: str, port_no: int) -> str:
    """Return the name of a new instance of a function of chains, at NIC port 2 of a host by this port and the next."""
    functions = function_port_of(bridge)
    topo.addHost(name, cls=ChainFunction, ip=None, function=function, at=bridge)
    for number, side in enumerate(("in", "out"), port_no):
        topo.addLink(name, functions, intfName1=f"{name}-{side}", intfName2=f"{functions}-{name}-{side}", port2=number)
    return name


def join_outlet(topo: Topo, bridge: str, segment: str, port_no: int) -> None:
    """Connect the end of a segment's chains, at this port of NIC port 2, to the segment's outlet at NIC port 3."""
    ends = function_port_of(bridge), network_port_of(bridge)
    topo.addLink(*ends, intfName1=f"{ends[0]}-{segment}", port1=port_no, intfName2=f"{ends[1]}-{segment}")

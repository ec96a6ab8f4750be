"""The nodes that the topologies are built of: NIC bridge, top-of-rack switch, host."""

from __future__ import annotations

from typing import Any

from mininet.node import Host, OVSSwitch
from mininet.topo import Topo

OPENFLOW = "OpenFlow14"
EXTERNAL_HOST = 0xFE  # last byte of the external host's addresses


class UserspaceBridge(OVSSwitch):
    """An Open vSwitch bridge that needs no kernel module and stays isolating without a controller."""

    def __init__(self, name: str, **params: Any) -> None:
        params |= {"datapath": "user", "protocols": OPENFLOW, "failMode": "secure", "inband": False}
        # One second is the shortest that Open vSwitch takes: a restarted controller is found in that time.
        params |= {"reconnectms": 1000}
        # In a batch the bridge would not exist yet when start() returns.
        super().__init__(name, **(params | {"batch": False}))
        # mn asks every switch to listen for ovs-ofctl on a TCP port; the bridge's own socket does that, guarded.
        self.listenPort = None

    def start(self, controllers: list[Any]) -> None:
        """Create the bridge and connect it."""
        super().start(controllers)
        # Else the host's own IPv6 announces itself through every port, as if a VM had spoken.
        for interface in [self.name, *(port.name for port in self.intfList() if port.name != "lo")]:
            self.cmd(f"sysctl -qw net.ipv6.conf.{interface}.disable_ipv6=1")

    def dpctl(self, *args: Any) -> str:
        """Return the output of ovs-ofctl, in the one OpenFlow version that the bridge speaks."""
        return str(self.cmd("ovs-ofctl", "-O", OPENFLOW, args[0], self, *args[1:]))


class NicBridge(UserspaceBridge):
    """The embedded switch of a host's SR-IOV network card; its ports are representors and the uplink."""

    def start(self, controllers: list[Any]) -> None:
        """Create the bridge, connect it, keep packet-ins for a busy controller, and notice a silent one in seconds."""
        super().start(controllers)
        self.vsctl("set", "bridge", self.name, "other_config:controller-queue-size=511")
        for uuid in self.controllerUUIDs(update=True):
            self.vsctl("set", "controller", uuid, "inactivity_probe=5000")


class TunnelNic(NicBridge):
    """A NIC bridge with a VXLAN port that takes endpoint and network identifier from each packet."""

    def start(self, controllers: list[Any]) -> None:
        """Create the bridge with its tunnel port, and connect it."""
        super().start(controllers)
        tunnel = f"{self.name}-vx0"
        self.vsctl("add-port", self.name, tunnel, "--", "set", "interface", tunnel, "type=vxlan",
                   "options:remote_ip=flow", "options:key=flow")  # fmt: skip


class GuestSwitch(UserspaceBridge):
    """What a VM's driver does with two ports of a card, as a switch: port 1 is the VM, 2 its VF, 3 its synthetic port.

    What comes by the VF with the VM's own MAC as source is a miss that came back, and goes by the synthetic port.
    Until somebody follows the VM's hints, all that the VM sends goes by the VF.
    """

    VM, VF, SYNTHETIC = 1, 2, 3

    def __init__(self, name: str, mac: str = "", **params: Any) -> None:
        super().__init__(name, **params)
        self.mac = mac

    def start(self, controllers: list[Any]) -> None:
        """Create the bridge without a controller and give it its three entries."""
        super().start([])
        self.forget_hints()

    def forget_hints(self) -> None:
        """Bring the bridge to the three entries that it begins with."""
        self.dpctl("del-flows")
        for flow in (
            f"priority=900,in_port={self.VF},dl_src={self.mac},actions=output:{self.SYNTHETIC}",
            f"priority=800,in_port={self.VF},actions=output:{self.VM}",
            f"priority=0,in_port={self.VM},actions=output:{self.VF}",
        ):
            self.dpctl("add-flow", flow)

    def representors(self) -> tuple[Any, Any]:
        """Return the NIC's ports that this VM's VF and synthetic port are joined to."""
        links = [self.intfs[port].link for port in (self.VF, self.SYNTHETIC)]
        return links[0].intf2, links[1].intf2


class TopOfRack(UserspaceBridge):
    """A plain learning switch that takes no orders from the controller; tags pass unchanged."""

    # A host's frames carry the tag of the VF that sends, the replies another one. Learning per VLAN
    # would never see the destination and flood everything, so one address table serves all VLANs.
    FLOWS = (
        "table=0,actions=learn(table=1,idle_timeout=300,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[])"
        ",resubmit(,1)",
        "table=1,priority=0,actions=flood",
    )

    def start(self, controllers: list[Any]) -> None:
        """Create the bridge without a controller and give it its two entries."""
        super().start([])
        for flow in self.FLOWS:
            self.dpctl("add-flow", f"'{flow}'")


class EndHost(Host):
    """A VM or an external machine, with one interface, both address families, and no offloads."""

    # No duplicate address detection, no search for routers, and groups are reported once, not again within a second
    # (RFC 3810 section 9.11): addresses work at once, and a silent host is silent.
    # IPv6 waits for the MAC address: an interface comes up with a random one first.
    QUIET = (
        "accept_ra=0", "router_solicitations=0", "accept_dad=0", "dad_transmits=0", "disable_ipv6=1",
        "mldv1_unsolicited_report_interval=3600000", "mldv2_unsolicited_report_interval=3600000",
    )  # fmt: skip

    def __init__(self, name: str, **params: Any) -> None:
        super().__init__(name, **params)
        for setting in self.QUIET:
            self.cmd(f"sysctl -qw net.ipv6.conf.default.{setting}")

    def config(self, ip6: str | None = None, **params: Any) -> dict[str, Any]:
        """Return what was configured: addresses, and checksums and segments made by the host itself."""
        interface = self.defaultIntf().name
        # The userspace datapath sees frames as they are on a wire: no card fills in sums or cuts segments.
        self.cmd(f"ethtool -K {interface} rx off tx off tso off gso off gro off")
        done: dict[str, Any] = super().config(**params)
        self.cmd(f"sysctl -qw net.ipv6.conf.{interface}.disable_ipv6=0")
        if ip6:
            self.cmd(f"ip -6 address replace {ip6} dev {interface} nodad")
        return done


def address_params(number: int) -> dict[str, str]:
    """Return MAC and addresses of end host `number` (1–254): 10.0.0.N/24, fd00::N/64."""
    return {
        "ip": f"10.0.0.{number}/24",
        "ip6": f"fd00::{number:x}/64",
        "mac": f"02:00:00:00:00:{number:02x}",
    }


def add_nic_bridge(topo: Topo, number: int) -> str:
    """Return the name of a new NIC bridge: h1, h2, …, with the datapath id of the same number."""
    return str(topo.addSwitch(f"h{number}", cls=NicBridge, dpid=f"{number:x}"))


def add_vm(topo: Topo, bridge: str, vf: int, number: int) -> str:
    """Return the name of a new VM `number` on VF `vf` of the bridge; the representor has port number `vf`."""
    name = str(topo.addHost(f"vm{number}", cls=EndHost, **address_params(number)))
    topo.addLink(name, bridge, intfName1=f"{name}-eth0", intfName2=f"{bridge}-vf{vf}", port2=vf)
    return name


# Representors of synthetic ports are numbered from here on, those of VFs below.
FIRST_SYNTHETIC = 1000


def add_vm_with_driver(topo: Topo, bridge: str, vf: int, number: int) -> str:
    """Return the name of a new VM `number` that a switch gN joins to VF `vf` of the bridge and to a synthetic port."""
    address = address_params(number)
    name = str(topo.addHost(f"vm{number}", cls=EndHost, **address))
    guest = str(topo.addSwitch(f"g{number}", cls=GuestSwitch, mac=address["mac"], dpid=f"ff{number:04x}"))
    topo.addLink(name, guest, intfName1=f"{name}-eth0", intfName2=f"{guest}-vm", port2=GuestSwitch.VM)
    for port, end, port_no in (
        (GuestSwitch.VF, f"vf{vf}", vf),
        (GuestSwitch.SYNTHETIC, f"syn{vf}", FIRST_SYNTHETIC + vf),
    ):
        names = {"intfName1": f"{guest}-{end}", "intfName2": f"{bridge}-{end}"}
        topo.addLink(guest, bridge, port1=port, port2=port_no, **names)
    return name


def add_uplink(topo: Topo, bridge: str, port_no: int, peer: str, **peer_params: Any) -> None:
    """Connect the bridge's uplink to its peer: a top-of-rack switch or an external host."""
    topo.addLink(bridge, peer, intfName1=f"{bridge}-uplink", port1=port_no, **peer_params)


def add_external_host(topo: Topo) -> str:
    """Return the name of the external host, a machine that no NIC bridge stands before."""
    return str(topo.addHost("ext", cls=EndHost, **address_params(EXTERNAL_HOST)))


class Underlay(UserspaceBridge):
    """A plain switch that holds a tunnel endpoint's address on its own port, as a host's physical bridge does."""

    def __init__(self, name: str, address: str = "", **params: Any) -> None:
        super().__init__(name, **params)
        self.address = address

    def start(self, controllers: list[Any]) -> None:
        """Create the bridge without a controller, and give it its address."""
        super().start([])
        self.dpctl("add-flow", "priority=0,actions=NORMAL")
        self.cmd(f"ip address add {self.address} dev {self.name}")
        self.cmd(f"ip link set {self.name} up")

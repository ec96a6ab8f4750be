"""A private Open vSwitch with dummy ports: frames go in by command and come out in capture files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mininet_scripts.support import flow_dump, pcap
from mininet_scripts.support.waiting import wait_until
from tests.ovs.harness.daemons import Daemons

OPENFLOW = "OpenFlow14"
CONNECT_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Trace:
    """What ofproto/trace says about one packet."""

    text: str

    @property
    def datapath_actions(self) -> str:
        """Return the actions that the packet would meet, ports by name; `drop` where it is dropped."""
        return self._line("Datapath actions")

    def _line(self, label: str) -> str:
        found = re.findall(rf"^{label}: (.*)$", self.text, re.MULTILINE)
        return found[-1].strip() if found else ""


class OpenVSwitch:
    """The private switch that a test talks to."""

    def __init__(self) -> None:
        self.daemons = Daemons()
        self._captures: dict[str, Path] = {}

    def start(self) -> None:
        """Start the daemons."""
        self.daemons.start()

    def stop(self) -> None:
        """End the daemons and remove their files."""
        self.daemons.stop()

    def restart_switch(self) -> None:
        """Kill ovs-vswitchd and start it again: flow entries are lost, the database stays."""
        self.daemons.stop_switch()
        self.daemons.start_switch()

    def add_bridge(self, name: str, dpid: int, ports: Sequence[str] | Mapping[str, int] = ()) -> None:
        """Make a bridge with dummy ports; a plain list of names is numbered from 1."""
        numbered = ports if isinstance(ports, Mapping) else {port: n for n, port in enumerate(ports, start=1)}
        command = ["add-br", name, "--", "set", "bridge", name, "datapath_type=dummy", "fail_mode=secure"]
        command += [f"protocols={OPENFLOW}", f"other_config:datapath-id={dpid:016x}"]
        command += ["other_config:disable-in-band=true"]
        for port, port_no in numbered.items():
            command += self._add_port_command(name, port, port_no)
        self.vsctl(*command)

    def add_port(self, bridge: str, name: str, port_no: int) -> None:
        """Add one dummy port to a running bridge."""
        self.vsctl(*self._add_port_command(bridge, name, port_no)[1:])

    def delete_port(self, bridge: str, name: str) -> None:
        """Remove a port from a running bridge."""
        self.vsctl("del-port", bridge, name)

    def set_controller(self, bridge: str, *tcp_ports: int) -> None:
        """Point the bridge at controllers on 127.0.0.1; a lost one is tried again every second."""
        self.vsctl("set-controller", bridge, *(f"tcp:127.0.0.1:{port}" for port in tcp_ports))
        for controller in self.vsctl("get", "bridge", bridge, "controller").strip(" []\n").split(","):
            self.vsctl("set", "controller", controller.strip(), "max_backoff=1000", "inactivity_probe=5000")

    def connected(self, bridge: str) -> bool:
        """Return whether all controllers of the bridge are connected, OpenFlow's hello done."""
        # From the log, because the database's is_connected is brought up to date every 5 s only.
        event = re.compile(rf"\|rconn\|\w+\|{re.escape(bridge)}<->(tcp:[\d.:]+): (.*)$", re.MULTILINE)
        latest = dict(event.findall(self.daemons.log()))
        targets = self.vsctl("get-controller", bridge).split()
        return bool(targets) and all(latest.get(target) == "connected" for target in targets)

    def wait_connected(self, bridge: str, timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        """Return when all controllers of the bridge are connected."""
        wait_until(lambda: self.connected(bridge), timeout_s, f"{bridge} to connect to its controller")

    def receive(self, port: str, frame: bytes | str) -> None:
        """Let a frame arrive at a dummy port: bytes, or a flow in the datapath's words (`eth(...),...`)."""
        self.appctl("netdev-dummy/receive", port, frame.hex() if isinstance(frame, bytes) else frame)

    def sent(self, port: str) -> list[bytes]:
        """Return every frame that the switch has sent out of a dummy port, oldest first."""
        return pcap.frames(self._captures[port])

    def wait_sent(self, port: str, count: int = 1, timeout_s: float = 5.0) -> list[bytes]:
        """Return the sent frames when there are at least `count`."""
        return wait_until(
            lambda: self.sent(port), timeout_s, f"{count} frames out of {port}", until=lambda sent: len(sent) >= count
        )

    def dump_flows(self, bridge: str, table: int | None = None) -> list[flow_dump.FlowEntry]:
        """Return the bridge's flow entries, all tables or one."""
        scope = [] if table is None else [f"table={table}"]
        return flow_dump.parse_all(self.ofctl("dump-flows", bridge, *scope, options=["--no-names"]))

    def trace(self, bridge: str, flow: str, packet: bytes | None = None) -> Trace:
        """Return where a packet would go, in ovs-ofctl's words (`in_port=1,tcp,...`); nothing is sent."""
        packets = [packet.hex()] if packet is not None else []
        return Trace(self.appctl("ofproto/trace", bridge, flow, "--names", *packets))

    def ofctl(
        self, command: str, bridge: str, *arguments: str, options: Sequence[str] = (), stdin: str | None = None
    ) -> str:
        """Return the output of ovs-ofctl, spoken in OpenFlow 1.4 at the bridge's own socket."""
        target = f"unix:{self.daemons.folder}/{bridge}.mgmt"
        return self.daemons.run("ovs-ofctl", "-O", OPENFLOW, *options, command, target, *arguments, stdin=stdin)

    def vsctl(self, *arguments: str) -> str:
        """Return the output of ovs-vsctl."""
        return self.daemons.run("ovs-vsctl", f"--db={self.daemons.database}", "--timeout=10", *arguments)

    def appctl(self, command: str, *arguments: str) -> str:
        """Return the answer of ovs-vswitchd to one control command."""
        return self.daemons.appctl(command, *arguments)

    def _add_port_command(self, bridge: str, name: str, port_no: int) -> list[str]:
        capture = self.daemons.folder / f"{name}.tx.pcap"
        self._captures[name] = capture
        command = ["--", "add-port", bridge, name, "--", "set", "interface", name, "type=dummy"]
        return [*command, f"ofport_request={port_no}", f"options:tx_pcap={capture}"]

    def add_underlay(self, bridge: str, address: str, port: str, peer: tuple[str, str]) -> None:
        """Make a plain bridge that holds an endpoint's address, with a dummy port toward its peer (address, MAC)."""
        self.vsctl("add-br", bridge, "--", "set", "bridge", bridge, "datapath_type=dummy", "fail_mode=standalone",
                   *self._add_port_command(bridge, port, 1))  # fmt: skip
        network = address.rpartition(".")[0] + ".0/24"
        self.appctl("netdev-dummy/ip4addr", bridge, f"{address}/24")
        self.appctl("ovs/route/add", network, bridge)
        self.appctl("tnl/neigh/set", bridge, *peer)

    def add_tunnel(self, bridge: str, name: str, port_no: int) -> None:
        """Add a VXLAN port that takes the endpoint and the identifier from each packet."""
        self.vsctl("add-port", bridge, name, "--", "set", "interface", name, "type=vxlan", f"ofport_request={port_no}",
                   "options:remote_ip=flow", "options:key=flow")  # fmt: skip

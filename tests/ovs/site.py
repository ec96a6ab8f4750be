"""Two hosts with their NIC bridges and one controller.

The bridges are h1 and h2, with ports h1-vf1 … h1-vf4 and h1-uplink, and the same for h2.
No cable joins the uplinks: a test carries frames over by hand, so that it sees each of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from mininet_scripts.support.controller import Controller
from mininet_scripts.support.waiting import wait_until
from tests.ovs.harness.snoop import Snoop
from tests.ovs.harness.switch import OpenVSwitch

HOSTS: Final = {"h1": 1, "h2": 2}
VFS: Final = 4
UPLINK_NO: Final = 9


class Site:
    """A private Open vSwitch with both bridges, and a controller that they are connected to."""

    def __init__(self, folder: Path, **arguments: Any) -> None:
        self.ovs = OpenVSwitch()
        self.controller = Controller(folder, **arguments)
        self.snoops: dict[str, Snoop] = {}

    def start(self) -> None:
        """Start all of it; return when both hosts are registered and ready."""
        self.ovs.start()
        for host, dpid in HOSTS.items():
            ports = {f"{host}-vf{vf}": vf for vf in range(1, VFS + 1)} | {f"{host}-uplink": UPLINK_NO}
            self.ovs.add_bridge(host, dpid, ports)
        self.controller.start()
        for host, dpid in HOSTS.items():
            answer = self.controller.rest("PUT", f"/v1/hosts/{host}", {"dpid": f"{dpid:x}", "uplink": f"{host}-uplink"})
            assert answer.status == 201, answer
            self.connect(host)
            self.snoops[host] = Snoop(self.ovs.daemons.folder / f"{host}.snoop")
        self.wait_ready()

    def connect(self, host: str) -> None:
        """Point a bridge at the controller."""
        self.ovs.set_controller(host, self.controller.openflow_port)
        # A test that lets the switch's clock run on must not make it think that the controller is silent.
        for controller in self.ovs.vsctl("get", "bridge", host, "controller").strip(" []\n").split(","):
            self.ovs.vsctl("set", "controller", controller.strip(), "inactivity_probe=0")

    def stop(self) -> None:
        """End all of it."""
        for listener in self.snoops.values():
            listener.stop()
        self.controller.stop()
        self.ovs.stop()

    def states(self) -> dict[str, str]:
        """Return the state that REST reports of each host."""
        return {item["id"]: item["live"]["state"] for item in self.controller.client.get("/v1/hosts")["items"]}

    def wait_ready(self, timeout_s: float = 10.0) -> None:
        """Return when both hosts are reported ready."""
        ready = dict.fromkeys(HOSTS, "ready")
        wait_until(self.states, timeout_s, "both hosts to be ready", until=lambda states: states == ready)

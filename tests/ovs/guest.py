"""VMs with a synthetic port beside their VF, and what their driver does with a frame that comes back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mininet_scripts.support.waiting import wait_until
from tests.ovs import packets
from tests.ovs.scenario import Lab
from tests.ovs.stations import VM1, VM2, Station

SYNTHETIC: Final = {VM1.name: "h1-syn1", VM2.name: "h1-syn2"}
_PORT_NOS: Final = {"h1-syn1": 11, "h1-syn2": 12}


def add_synthetic_ports(lab: Lab) -> None:
    """Give host h1 a second port for each of its first two VMs."""
    present = lab.ovs.vsctl("list-ports", "h1").split()
    for name, number in _PORT_NOS.items():
        if name not in present:
            lab.ovs.add_port("h1", name, number)
        lab.forget(name)
    wait_until(lambda: str(lab.get("hosts/h1")["live"]["ports"]), 5, "the controller to see the synthetic ports",
               until=lambda seen: all(name in seen for name in _PORT_NOS))  # fmt: skip


def put_host(lab: Lab, miss: str) -> None:
    """Say how misses of host h1 come to the controller."""
    lab.put("hosts/h1", {"dpid": "1", "uplink": "h1-uplink", "miss": miss})


def with_synthetic(vm: Station, **changed: Any) -> Mapping[str, Any]:
    """Return the body that registers a VM with both ports, and with as many misses as it likes."""
    return {**vm.vport, "synthetic": SYNTHETIC[vm.name], "miss_rate_pps": None, **changed}


def mac_of(frame: bytes) -> str:
    """Return a frame's source MAC."""
    return frame[6:12].hex(":")


class Driver:
    """The driver of a VM with both ports: what comes back by the VF it sends by the synthetic port, nothing else."""

    def __init__(self, lab: Lab, vm: Station) -> None:
        self.lab = lab
        self.vm = vm
        self._seen = 0

    def came_back(self) -> list[bytes]:
        """Return the frames that the VF has given back since the last time."""
        self.lab.settle()
        frames = self.lab.sent(self.vm)
        new, self._seen = frames[self._seen :], len(frames)
        return [frame for frame in new if mac_of(packets.untagged(frame)) == self.vm.mac]

    def send(self, *frames: bytes) -> list[bytes]:
        """Send frames by the VF, and what comes back by the synthetic port; return what came back."""
        self.lab.send(self.vm, *frames)
        back = self.came_back()
        if back:
            self.lab.send(SYNTHETIC[self.vm.name], *back)
        self.lab.settle()
        return back

"""A real Open vSwitch with the devices of some VMs and a controller, a core each: what benchmarks send through."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from mininet_scripts.support.controller import Controller
from mininet_scripts.support.policy import group, layer, rule
from mininet_scripts.support.waiting import wait_until
from tests.ovs.harness.switch import OpenVSwitch

SWITCH_CORE: Final = 0
CONTROLLER_CORE: Final = 1
LAYERS: Final = 3
HALF_OPEN: Final = 1_000_000
# What a network card's ring holds; the default of a tap device is 1,000.
RING_PKTS: Final = 4096
# How many packet-ins Open vSwitch keeps for a controller that is behind, as docs/operations.md advises; else 100.
PACKET_INS: Final = 511
MOST, MORE = -20, -10
# Who goes first where two want one core (sched(7), SCHED_FIFO): a sender may not stop what it measures.
_FIRST, SENDER_PRIORITY, _OTHERS = 3, 2, 1


class Site(NamedTuple):
    """A running switch with a controller and the devices of its VMs."""

    ovs: OpenVSwitch
    controller: Controller
    devices: tuple[str, ...]


def mac_of(vm: int) -> str:
    """Return the MAC of a VM, numbered from 0."""
    return f"02:00:00:00:00:{vm + 1:02x}"


@contextmanager
def site(
    settings: Sequence[str],
    vms: int,
    *,
    pinned: bool = True,
    first: bool = True,
    half_open: int = HALF_OPEN,
    **vport: Any,
) -> Iterator[Site]:
    """Start a switch and a controller, and register VMs behind three layers.

    settings are other_config of Open vSwitch; vport holds fields that all vports have.
    half_open is how many half-open connections each may have: two VMs may do here what a host full of them does.
    pinned gives each of the two a core; else they run as any program does.
    first says whether both go before what else the machine does, or, because the kernel stops for 50 ms of each second
    who does that and never rests, only have a far greater share.
    """
    ovs = OpenVSwitch()
    devices = tuple(f"vf{number + 1}" for number in range(vms))
    with tempfile.TemporaryDirectory(prefix="vfswitch-bench-") as folder:
        lifted = Path(folder) / "lifted.conf"
        lifted.write_text(f"[DEFAULT]\nvfswitch_half_open_limit = {half_open}\n")
        quiet = ("--default-log-level", "30", "--config-file", str(lifted))
        try:
            ovs.start()
            ovs.vsctl("add-br", "nic", "--", "set", "bridge", "nic", "datapath_type=netdev", "fail_mode=secure",
                      "protocols=OpenFlow14", "other_config:datapath-id=00000000000000b1",
                      "other_config:disable-in-band=true",
                      f"other_config:controller-queue-size={PACKET_INS}")  # fmt: skip
            for setting in settings:
                ovs.vsctl("set", "Open_vSwitch", ".", f"other_config:{setting}")
            for number, device in enumerate(devices, start=1):
                ovs.vsctl("add-port", "nic", device, "--", "set", "interface", device, "type=internal",
                          f"ofport_request={number}")  # fmt: skip
                Path(f"/proc/sys/net/ipv6/conf/{device}/disable_ipv6").write_text("1")
                subprocess.run(["ip", "link", "set", device, "txqueuelen", str(RING_PKTS), "up"], check=True)
            with Controller(Path(folder), options=quiet) as controller:
                if pinned:
                    _pin(ovs.daemons.switch_pid, SWITCH_CORE, first=first)
                    _pin(controller.pid, CONTROLLER_CORE, first=first)
                ovs.set_controller("nic", controller.openflow_port)
                _register(controller, devices, vport)
                yield Site(ovs, controller, devices)
        finally:
            ovs.stop()


def _pin(pid: int, core: int, *, first: bool) -> None:
    """Give a process a core; first: ahead of what else the machine does, and its first thread ahead of its others.

    That one forwards; Open vSwitch's others follow changes of the tables and may take what is left.
    """
    if not first:
        favour(pid, MOST)
    for thread in Path(f"/proc/{pid}/task").iterdir():
        number = int(thread.name)
        # One may have ended meanwhile; those that begin have what the first one was given.
        with suppress(ProcessLookupError):
            if first:
                os.sched_setscheduler(number, os.SCHED_FIFO, os.sched_param(_FIRST if number == pid else _OTHERS))
            if core in os.sched_getaffinity(0):
                os.sched_setaffinity(number, {core})


def favour(pid: int, nice: int) -> None:
    """Give the session of a process (0: this one) a share of the processor, -20 for most to 19 as in nice(1).

    The kernel shares between sessions first (sched(7), autogroup); without that, processes have their share alone.
    Only root may ask for more, so nothing is done for others.
    """
    if os.geteuid():
        return
    # Linux gives it to the first thread alone. That one forwards in Open vSwitch; its others take what is left.
    os.setpriority(os.PRIO_PROCESS, pid, nice)
    group = Path(f"/proc/{pid or 'self'}/autogroup")
    if group.exists():
        group.write_text(str(nice))


def register_vm(controller: Controller, devices: Sequence[str], vm: int, **vport: Any) -> None:
    """Register a VM, numbered from 0, at its device."""
    body = {"host": "h1", "port": devices[vm], "tenant": "red", "mac": mac_of(vm), "ips": [], "vlan": 101 + vm}
    controller.client.put(f"/v1/vports/vm{vm + 1}", body | vport)


def _register(controller: Controller, devices: Sequence[str], vport: dict[str, Any]) -> None:
    rest = controller.client
    rest.put("/v1/hosts/h1", {"dpid": "00000000000000b1"})

    def agreed() -> bool:
        return bool(rest.get("/v1/hosts/h1")["live"]["state"] == "ready")

    wait_until(agreed, 20, "the switch to agree")
    rest.put("/v1/tenants/red", {})
    rest.put("/v1/segments/red", {"tenant": "red", "vlan": None})
    for vm in range(len(devices)):
        register_vm(controller, devices, vm, **vport)
    for number in range(LAYERS):
        name = f"layer{number}"
        rest.put(f"/v1/layers/{name}", layer(position=10 * number, stateful=True, outbound="deny", inbound="deny"))
        allowed = (rule("tcp", ip_proto="tcp", l4_dst="80"), rule("udp", ip_proto="udp", l4_dst="80"))
        for direction in ("outbound", "inbound"):
            rest.put(f"/v1/layers/{name}/groups/{direction}", group(direction, *allowed))


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has used, user and system, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

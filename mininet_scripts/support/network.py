"""Building a Mininet network on the system's Open vSwitch, and removing it again whatever happened."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mininet.net import Mininet
from mininet.node import RemoteController
from mininet.topo import Topo

from mininet_scripts.support.waiting import wait_until
from topologies.parts import NicBridge

LOCK_PATH = Path("/run/lock/vfswitch-network.lock")
LOCK_TIMEOUT_S = 600.0
CONNECT_TIMEOUT_S = 10.0
_ESTABLISHED = "01"  # /proc/net/tcp, state column


class KnownController(RemoteController):
    """A controller that is known to listen, so that nobody needs to look by telnet."""

    def checkListening(self) -> None:
        """Do nothing: who starts it waits for it."""


class NotReady(Exception):
    """This machine or this user cannot build networks; the message says what to do."""


def check_ready() -> None:
    """Raise NotReady unless this is root, may make namespaces, and Open vSwitch answers."""
    if os.geteuid() != 0:
        raise NotReady("networks of namespaces need root: run this through make, or with sudo")
    try:
        # Mininet itself would wait for ever for a host whose namespace was refused.
        subprocess.run(["mnexec", "-n", "true"], check=True, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or error
        raise NotReady(f"namespaces cannot be made ({said}): a container needs CAP_SYS_ADMIN and mininet") from error
    try:
        subprocess.run(["ovs-vsctl", "--timeout=5", "show"], check=True, capture_output=True)
        subprocess.run(["ovs-appctl", "--timeout=5", "-t", "ovs-vswitchd", "version"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise NotReady(f"Open vSwitch does not answer ({error}): start it with make openvswitch") from error


@contextmanager
def running(topo: Topo, openflow_port: int | None = None) -> Iterator[Mininet]:
    """Yield the started network, its NIC bridges connected to the controller on that port of 127.0.0.1."""
    check_ready()
    with exclusive():
        remove_leftovers(topo)
        net = Mininet(topo=topo, controller=None, build=False)
        try:
            with interrupts_held():
                if openflow_port is not None:
                    net.addController("c0", KnownController, ip="127.0.0.1", port=openflow_port)
                net.start()
            if openflow_port is not None:
                wait_connected(net, openflow_port)
            yield net
        finally:
            with interrupts_held():
                try:
                    net.stop()
                finally:
                    remove_leftovers(topo)


@contextmanager
def exclusive() -> Iterator[None]:
    """Hold this machine's one place for a network: names of bridges and interfaces are the machine's."""
    with LOCK_PATH.open("w") as lock:
        wait_until(lambda: _try_lock(lock), LOCK_TIMEOUT_S, "another network on this machine to end")
        yield


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back while the block runs: Mininet cannot stop a network that is half built."""
    held: list[int] = []
    before = {
        number: signal.signal(number, lambda got, _: held.append(got)) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for each in held:
        signal.raise_signal(each)


def wait_connected(net: Mininet, openflow_port: int, timeout_s: float = CONNECT_TIMEOUT_S) -> None:
    """Return when every NIC bridge of the network has a connection to the controller."""
    expected = sum(isinstance(switch, NicBridge) for switch in net.switches)
    wait_until(
        lambda: openflow_connections(openflow_port),
        timeout_s,
        f"{expected} bridges to connect to port {openflow_port}",
        until=lambda connections: connections >= expected,
    )


def openflow_connections(openflow_port: int) -> int:
    """Return how many connections to this port of the machine are established."""
    # Not from is_connected in Open vSwitch's database: that is brought up to date every 5 s only.
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    columns = [line.split() for line in lines]
    return sum(each[3] == _ESTABLISHED and int(each[2].partition(":")[2], 16) == openflow_port for each in columns)


def remove_leftovers(topo: Topo) -> None:
    """Remove bridges and links by the names of this topology, left by a run that was killed."""
    deletions = [word for bridge in topo.switches() for word in ("--", "--if-exists", "del-br", bridge)]
    subprocess.run(["ovs-vsctl", "--timeout=10", *deletions], check=False, capture_output=True)
    present = set(os.listdir("/sys/class/net"))
    for _, _, link in topo.links(withInfo=True):
        for end in ("intfName1", "intfName2"):
            if link.get(end) in present:
                subprocess.run(["ip", "link", "delete", link[end]], check=False, capture_output=True)


def _try_lock(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

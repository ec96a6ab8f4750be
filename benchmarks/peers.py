"""The controllers that are compared: how each is started on free loopback ports, made ready, and stopped."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from benchmarks import learning, vfswitch_load
from benchmarks.fake_switch import FakeSwitch
from benchmarks.frames import PacketInTemplate
from benchmarks.openflow import VERSIONS, Port

_ROOT: Final = Path(__file__).resolve().parent.parent
_STOP_TIMEOUT_S: Final = 5.0
_LOG_TAIL_BYTES: Final = 3000


@dataclass(frozen=True, slots=True)
class Place:
    """Where one running controller lives: its ports on 127.0.0.1 and a folder for its files."""

    of_port: int
    rest_port: int
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One controller.

    prepare configures it by way of the connected switch and returns the packet-ins that it is to be loaded with.
    """

    name: str
    version: int
    ports: Sequence[Port]
    command: Callable[[Place], list[str]]
    environment: Callable[[Place], dict[str, str]]
    prepare: Callable[[FakeSwitch, Place], list[PacketInTemplate]]


def _ryu_manager(place: Place, *arguments: str) -> list[str]:
    # Warnings only: a controller that writes a line for each packet is measured by its log.
    options = ["--default-log-level", "30", "--ofp-listen-host", "127.0.0.1", "--ofp-tcp-listen-port"]
    return [str(Path(sys.executable).with_name("ryu-manager")), *options, str(place.of_port), *arguments]


def _simple_switch(place: Place) -> list[str]:
    return _ryu_manager(place, "ryu.app.simple_switch_13")


def _testcontroller(place: Place) -> list[str]:
    # It limits no rates of its own accord; it drops an answer when ten wait on a socket that takes no more.
    program = shutil.which("ovs-testcontroller") or str(Path(sys.executable).with_name("ovs-testcontroller"))
    return [program, f"--unixctl={place.folder / 'ctl'}", f"ptcp:{place.of_port}:127.0.0.1"]


def _bare_loop(place: Place) -> list[str]:
    return [sys.executable, "-m", "benchmarks.bare_loop", str(place.of_port)]


def _vfswitch(place: Place) -> list[str]:
    rest = ("--wsapi-host", "127.0.0.1", "--wsapi-port", str(place.rest_port))
    apps = [str(_ROOT / "ryu_apps" / name) for name in ("vswitch.py", "rest_api.py")]
    return _ryu_manager(place, *rest, *apps)


def _learning(switch: FakeSwitch, _: Place) -> list[PacketInTemplate]:
    learning.teach(switch)
    return learning.templates()


def _configured(switch: FakeSwitch, place: Place, *more: dict[str, Any]) -> list[PacketInTemplate]:
    switch.serve_while(lambda: vfswitch_load.configure(f"http://127.0.0.1:{place.rest_port}", *more))
    switch.settle()
    return vfswitch_load.templates(switch.entries())


def _unlike(switch: FakeSwitch, place: Place) -> list[PacketInTemplate]:
    return _configured(switch, place, vfswitch_load.UNLIKE)


SIMPLE_SWITCH: Final = Peer(
    name="simple_switch_13",
    version=VERSIONS["1.3"],
    ports=learning.PORTS,
    command=_simple_switch,
    environment=lambda _: {},
    prepare=_learning,
)
TESTCONTROLLER: Final = Peer(
    name="ovs-testcontroller",
    version=VERSIONS["1.3"],
    ports=learning.PORTS,
    command=_testcontroller,
    environment=lambda _: {},
    prepare=_learning,
)
VFSWITCH: Final = Peer(
    name="vfswitch",
    version=VERSIONS["1.4"],
    ports=vfswitch_load.PORTS,
    command=_vfswitch,
    # Nobody answers the misses of the load, so it is all half-open connections.
    environment=lambda place: {
        "VFSWITCH_STATE": str(place.folder / "state.sqlite"),
        "VFSWITCH_HALF_OPEN_LIMIT": "1000000000",
    },
    prepare=_configured,
)
# The same where no two misses are of one kind, so that each walks the layers.
NO_TWO_ALIKE: Final = replace(VFSWITCH, name="vfswitch, none alike", prepare=_unlike)
# No controller: it shows what of the latencies is the machine's.
BARE_LOOP: Final = Peer(
    name="bare socket loop",
    version=VERSIONS["1.4"],
    ports=learning.PORTS,
    command=_bare_loop,
    environment=lambda _: {},
    prepare=lambda *_: learning.templates(),
)
PEERS: Final = {peer.name: peer for peer in (VFSWITCH, NO_TWO_ALIKE, SIMPLE_SWITCH, TESTCONTROLLER, BARE_LOOP)}


class PeerFailed(Exception):
    """A controller did not start, or stopped or refused what it was asked; the text ends with its log."""


@dataclass(frozen=True, slots=True)
class Running:
    """A controller that runs."""

    pid: int
    place: Place

    def cpu_s(self) -> float:
        """Return the processor time that it has used, user and system, in seconds."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def running(peer: Peer, core: int | None) -> Iterator[Running]:
    """Start a controller, pinned to a core unless None, and stop it by its process id on leaving."""
    with tempfile.TemporaryDirectory(prefix="vfswitch-bench-") as folder:
        of_port, rest_port = free_ports(2)
        place = Place(of_port, rest_port, Path(folder))
        environment = os.environ | {"PYTHONPATH": str(_ROOT), "PYTHONWARNINGS": "ignore"} | peer.environment(place)
        log = place.folder / "log"
        with log.open("wb") as sink:
            try:
                process = subprocess.Popen(
                    peer.command(place),
                    cwd=place.folder,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=subprocess.STDOUT,
                )
            except OSError as error:
                raise PeerFailed(f"{peer.name} cannot be started: {error}") from error
        try:
            if core is not None:
                os.sched_setaffinity(process.pid, {core})
            yield Running(process.pid, place)
        except Exception as error:
            tail = log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace")
            state = "still ran" if process.poll() is None else f"had ended with status {process.returncode}"
            raise PeerFailed(f"{peer.name}: {error}\nIt {state}; its log ends:\n{tail}") from error
        finally:
            stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process that we started: asked first, then forced."""
    process.terminate()
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_ports(count: int) -> list[int]:
    """Return TCP ports that nobody listens on just now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    numbers = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return numbers

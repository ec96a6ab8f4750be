"""Capturing frames with tcpdump while a block runs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mininet.node import Node

from mininet_scripts.support import hosts, pcap
from mininet_scripts.support.waiting import wait_until

START_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Capture:
    """The frames seen so far on one interface."""

    path: Path

    def frames(self) -> list[bytes]:
        """Return the frames seen so far, oldest first, VLAN tags included."""
        return pcap.frames(self.path)

    def timed(self) -> list[pcap.Seen]:
        """Return the frames seen so far with their times, oldest first."""
        return pcap.timed(self.path)

    def wait_frames(self, count: int = 1, timeout_s: float = 5.0) -> list[bytes]:
        """Return the frames when there are at least `count`."""
        what = f"{count} frames in {self.path.name}"
        return wait_until(self.frames, timeout_s, what, until=lambda seen: len(seen) >= count)


@contextmanager
def capture(node: Node | None, interface: str, expression: str = "", *, path: Path | None = None) -> Iterator[Capture]:
    """Yield the running capture of an interface inside a host, or of a bridge's port where `node` is None.

    The expression is pcap-filter's; tagged frames pass it only where it says `vlan`.
    """
    with tempfile.TemporaryDirectory(prefix="vfs-capture-") as folder:
        target = path or Path(folder) / f"{interface}.pcap"
        log = Path(folder) / "tcpdump.log"
        # -U and immediate mode: a frame is in the file as soon as it was seen. -Z: else it writes as another user.
        command = ["tcpdump", "-n", "-U", "--immediate-mode", "-s", "0", "-B", "16384", "-Z", "root"]
        command += ["-i", interface, "-w", str(target), *expression.split()]
        with hosts.background(node, *command, output=log) as process:

            def listens() -> bool:
                if process.poll() is not None:
                    raise hosts.HostCommandError(f"tcpdump on {interface} ended: {log.read_text()}")
                return "listening on" in log.read_text()

            wait_until(listens, START_TIMEOUT_S, f"tcpdump to listen on {interface}")
            yield Capture(target)

"""Running commands inside a Mininet host, each with a time limit and ended by its own id."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from mininet.node import Node

from mininet_scripts.support import processes

INSIDE = Path(__file__).resolve().parent / "inside"
_RTT = re.compile(r"time=([\d.]+) ms")
_COUNTS = re.compile(r"(\d+) packets transmitted, (\d+) received")


class HostCommandError(Exception):
    """A command inside a host failed; the message is what it said."""


@dataclass(frozen=True, kw_only=True)
class Pings:
    """What ping reported: requests, answers, and the round-trip time of each answer in order."""

    sent: int
    received: int
    rtt_ms: tuple[float, ...]

    @property
    def all_answered(self) -> bool:
        """Return whether every request was answered."""
        return self.sent > 0 and self.received == self.sent


def spawn(node: Node | None, *arguments: str | Path, output: IO[Any] | int) -> subprocess.Popen[bytes]:
    """Return a command started inside the host, or beside the bridges where `node` is None."""
    prefix = [] if node is None else ["mnexec", "-a", str(node.pid)]
    return processes.spawn([*prefix, *arguments], output=output)


def run(
    node: Node | None, *arguments: str | Path, stdin: str = "", timeout_s: float = 30.0, check: bool = True
) -> str:
    """Return what a command inside the host printed; a failure or a time-out is an exception.

    Where `check` is false a failure is one only if nothing was printed, but for its complaint.
    """
    prefix = [] if node is None else ["mnexec", "-a", str(node.pid)]
    command = [*prefix, *(str(argument) for argument in arguments)]
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False, start_new_session=True
        )
    except subprocess.TimeoutExpired as error:
        raise HostCommandError(f"{node}: {' '.join(command)}: no end within {timeout_s:g} s") from error
    if done.returncode and (check or not done.stdout):
        raise HostCommandError(f"{node}: {' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def script(name: str) -> tuple[str, str]:
    """Return the command that runs one of the scripts in `inside/`."""
    return sys.executable, str(INSIDE / name)


def ping(
    node: Node,
    address: str,
    *,
    count: int = 1,
    interval_s: float = 0.2,
    answer_timeout_s: float = 1.0,
    payload_bytes: int = 56,
) -> Pings:
    """Return what `count` pings to an IPv4 or IPv6 address gave; silence is an answer, not an error."""
    timing = ["-i", f"{interval_s:g}", "-W", f"{answer_timeout_s:g}"]
    limit_s = count * (interval_s + answer_timeout_s) + 10
    said = run(
        node, "ping", "-n", "-c", str(count), "-s", str(payload_bytes), *timing, address, timeout_s=limit_s, check=False
    )  # fmt: skip
    counts = _COUNTS.search(said)
    if counts is None:
        raise HostCommandError(f"{node}: ping {address} said: {said!r}")
    rtt_ms = tuple(float(each) for each in _RTT.findall(said))
    return Pings(sent=int(counts[1]), received=int(counts[2]), rtt_ms=rtt_ms)


@contextmanager
def background(node: Node | None, *arguments: str | Path, output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Yield a command that runs inside the host until the block ends; what it prints goes to a file."""
    with output.open("wb") as file:
        process = spawn(node, *arguments, output=file)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                processes.kill9(process)

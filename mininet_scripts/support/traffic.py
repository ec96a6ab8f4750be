"""Traffic between hosts: numbered UDP, TCP connections that stay, throughput, raw frames."""

from __future__ import annotations

import json
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mininet.node import Node

from mininet_scripts.support import hosts
from mininet_scripts.support.waiting import wait_until

START_TIMEOUT_S = 10.0
IPERF_PORT = 5201


class Arrival(NamedTuple):
    """One numbered packet or echo, and when it arrived (monotonic clock, ns)."""

    number: int
    at_ns: int


@dataclass(frozen=True)
class Arrivals:
    """What has arrived so far, read from the receiving process's output."""

    path: Path
    process: subprocess.Popen[bytes]

    def seen(self) -> list[Arrival]:
        """Return the arrivals so far, in their order."""
        # The last piece is empty, or a line that is still being written.
        lines = (line.split() for line in self.path.read_text().split("\n")[:-1])
        return [Arrival(int(words[0]), int(words[1])) for words in lines if words and words[0].isdigit()]

    def numbers(self) -> list[int]:
        """Return the numbers so far, in the order of arrival."""
        return [arrival.number for arrival in self.seen()]

    def wait_count(self, count: int, timeout_s: float = 5.0) -> list[int]:
        """Return the numbers when at least `count` have arrived."""
        return wait_until(self.numbers, timeout_s, f"{count} arrivals", until=lambda numbers: len(numbers) >= count)

    def output(self) -> str:
        """Return all that the process printed, errors included."""
        return self.path.read_text()


@contextmanager
def talking(node: Node, word: str, *command: str) -> Iterator[Arrivals]:
    """Yield a background process once it has printed the word that says it is ready."""
    with tempfile.TemporaryDirectory(prefix="vfs-traffic-") as folder:
        output = Path(folder) / "output"
        with hosts.background(node, *command, output=output) as process:

            def ready() -> bool:
                said = output.read_text()
                if process.poll() is not None:
                    raise hosts.HostCommandError(f"{node}: {' '.join(command)} ended: {said}")
                return word in said

            wait_until(ready, START_TIMEOUT_S, f"{command[1]} on {node} to say {word!r}")
            yield Arrivals(output, process)


@contextmanager
def udp_receiver(node: Node, port: int, *, address: str = "0.0.0.0") -> Iterator[Arrivals]:
    """Yield the numbered UDP packets that arrive at a port; `::` listens on IPv6."""
    with talking(node, "ready", *hosts.script("udp_receive.py"), address, str(port)) as arrivals:
        yield arrivals


@contextmanager
def udp_sender(
    node: Node,
    address: str,
    port: int,
    *,
    count: int,
    rate_pps: float = 0.0,
    payload_bytes: int = 64,
    source_port: int = 0,
    first: int = 0,
) -> Iterator[subprocess.Popen[bytes]]:
    """Yield a process that sends packets numbered from `first`; wait for it to see them all sent."""
    values = (address, port, count, rate_pps, payload_bytes, source_port, first)
    arguments = [*hosts.script("udp_send.py"), *map(str, values)]
    with (
        tempfile.TemporaryDirectory(prefix="vfs-traffic-") as folder,
        hosts.background(node, *arguments, output=Path(folder) / "output") as process,
    ):
        yield process


def send_udp(
    node: Node,
    address: str,
    port: int,
    *,
    count: int,
    rate_pps: float = 0.0,
    payload_bytes: int = 64,
    source_port: int = 0,
    first: int = 0,
) -> None:
    """Send packets numbered from `first`; return when all were sent. A rate of 0 is as fast as can be."""
    values = (address, port, count, rate_pps, payload_bytes, source_port, first)
    limit_s = 20 + (count / rate_pps if rate_pps else count / 5000)
    hosts.run(node, *hosts.script("udp_send.py"), *map(str, values), timeout_s=limit_s)


@dataclass(frozen=True)
class Conversation(Arrivals):
    """Numbered packets both ways over one socket; `seen` lists those that came."""

    def stop_sending(self) -> int:
        """Return how many packets were sent, when it has sent its last; it goes on listening."""
        self.process.send_signal(signal.SIGUSR1)
        said = wait_until(self.output, 5, "the count of packets sent", until=lambda text: "\nsent " in text)
        return int(said.rpartition("\nsent ")[2].split()[0])


@contextmanager
def udp_talk(
    node: Node, address: str, port: int, *, own_port: int, rate_pps: float, waits: bool = False
) -> Iterator[Conversation]:
    """Yield one side of a UDP conversation; one that waits is silent until the other has spoken."""
    values = (address, port, own_port, rate_pps, int(waits))
    with talking(node, "ready", *hosts.script("udp_talk.py"), *map(str, values)) as arrivals:
        yield Conversation(arrivals.path, arrivals.process)


@contextmanager
def tcp_echo_server(node: Node, port: int, *, address: str = "0.0.0.0") -> Iterator[None]:
    """Run an echo server inside the host while the block runs; `::` listens on IPv6."""
    with talking(node, "ready", *hosts.script("tcp_echo.py"), address, str(port)):
        yield


def tcp_works(
    node: Node, address: str, port: int, *, source_port: int = 0, timeout_s: float = 2.0, exchanges: int = 1
) -> bool:
    """Return whether a new connection to an echo server connects and carries data both ways in time."""
    values = (address, port, source_port, exchanges, 0, timeout_s)
    said = hosts.run(
        node, *hosts.script("tcp_talk.py"), *map(str, values),
        timeout_s=timeout_s * (exchanges + 1) + 10, check=False,
    )  # fmt: skip
    return said.rstrip().split("\n")[-1].startswith(f"{exchanges} ")


@contextmanager
def tcp_talk(
    node: Node,
    address: str,
    port: int,
    *,
    source_port: int = 0,
    interval_s: float = 0.01,
    silence_timeout_s: float = 60.0,
) -> Iterator[Arrivals]:
    """Yield the echoes of one connection that keeps talking; it lives through silences up to the time-out."""
    values = (address, port, source_port, 0, interval_s, silence_timeout_s)
    with talking(node, "connected", *hosts.script("tcp_talk.py"), *map(str, values)) as arrivals:
        yield arrivals


def send_frames(node: Node | None, interface: str, frames: Sequence[bytes]) -> None:
    """Send raw frames out of an interface, inside the host or of a bridge where `node` is None, forged ones too."""
    lines = "".join(f"{frame.hex()}\n" for frame in frames)
    hosts.run(node, *hosts.script("send_frames.py"), interface, stdin=lines)


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """What the receiving side of iperf3 measured."""

    bits_per_s: float
    lost_pkts: int
    sent_pkts: int
    retransmits: int


def iperf3(
    client: Node,
    server: Node,
    address: str,
    *,
    duration_s: int = 2,
    reverse: bool = False,
    udp_kbps: int | None = None,
    payload_bytes: int | None = None,
    port: int = IPERF_PORT,
) -> Throughput:
    """Return what one iperf3 run measured, client to server, or back where `reverse`; UDP where a rate is given."""
    options = ["--reverse"] if reverse else []
    options += ["--udp", "--bitrate", f"{udp_kbps}k"] if udp_kbps is not None else []
    options += ["--length", str(payload_bytes)] if payload_bytes is not None else []
    listen = ("iperf3", "--server", "--one-off", "--forceflush", "--port", str(port))
    call = ("iperf3", "--client", address, "--json", "--time", str(duration_s), "--port", str(port))
    limits = ("--connect-timeout", "5000")
    with talking(server, "Server listening", *listen):
        said = hosts.run(client, *call, *limits, *options, timeout_s=duration_s + 20, check=False)
    report = json.loads(said)
    if "error" in report:
        raise hosts.HostCommandError(f"iperf3 {client} → {address}: {report['error']}")
    end = report["end"]
    if udp_kbps is None:
        received, sent = end["sum_received"], end["sum_sent"]
        return Throughput(
            bits_per_s=received["bits_per_second"], lost_pkts=0, sent_pkts=0, retransmits=sent.get("retransmits", 0)
        )
    total = end["sum"]
    return Throughput(
        bits_per_s=total["bits_per_second"] * (1 - total["lost_percent"] / 100),
        lost_pkts=total["lost_packets"],
        sent_pkts=total["packets"],
        retransmits=0,
    )

"""HAProxy as an intercepting proxy: a third party's program that ends connections and begins others."""

from __future__ import annotations

import signal
import subprocess
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from mininet.node import Node

from mininet_scripts.support import hosts, processes
from mininet_scripts.support.functions.function import State
from mininet_scripts.support.functions.router import Router

_TABLE = "vfswitch_proxy"
_HTTP_PORT, _TCP_PORT = 3128, 3129
_LISTEN = "0A"  # /proc/net/tcp, state column
_REDIRECT = "tcp dport { %s } redirect to :%d"
_TURN_ASIDE = "table ip %s { chain arrive { type nat hook prerouting priority dstnat; %s; }; }"
# A server 0.0.0.0 is the one that the client meant (HAProxy's Configuration Manual, section 5.2).
_CONFIGURATION = """
global
    log stdout format raw local0
    nbthread 1
defaults
    log global
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend web
    mode http
    bind :{http_port}
    option httplog
    option forwardfor
    http-request deny if {{ path_beg {denied_path} }}
    http-request set-header Via "1.1 {name}"
    default_backend meant_http
backend meant_http
    mode http
    server meant 0.0.0.0
frontend connections
    mode tcp
    bind :{tcp_port}
    option tcplog
    default_backend meant_tcp
backend meant_tcp
    mode tcp
    server meant 0.0.0.0
"""


class _Running(NamedTuple):
    """The program of one start, and where it writes."""

    process: subprocess.Popen[bytes]
    log: Path


class Proxy(Router):
    """A router whose HAProxy takes TCP connections to some ports itself and connects to who was meant.

    The receiver sees the router's address, and of HTTP the headers `Via` and `X-Forwarded-For`.
    """

    def __init__(
        self,
        node: Node,
        addresses: Mapping[str, str],
        *,
        http_ports: Collection[int] = (),
        tcp_ports: Collection[int] = (),
        denied_path: str = "/denied",
    ) -> None:
        """Prepare a proxy for HTTP to some ports, which answers 403 under a path, and for any TCP to others."""
        super().__init__(node, addresses)
        self._ports = {_HTTP_PORT: tuple(http_ports), _TCP_PORT: tuple(tcp_ports)}
        self._configuration = _CONFIGURATION.format(
            name=node.name, denied_path=denied_path, http_port=_HTTP_PORT, tcp_port=_TCP_PORT
        )
        self._running: _Running | None = None

    def set_up(self) -> None:
        """Route, run HAProxy, and turn the ports aside to it."""
        super().set_up()
        folder = tempfile.TemporaryDirectory(prefix="vfs-proxy-")
        self.at_end(folder.cleanup)
        configuration, log = Path(folder.name) / "haproxy.cfg", Path(folder.name) / "log"
        configuration.write_text(self._configuration)
        # -db: one process in the foreground, so that a signal to it is a signal to the whole program.
        with log.open("wb") as output:
            process = hosts.spawn(self.node, "haproxy", "-db", "-f", configuration, output=output)
        self.at_end(processes.stop, process)
        self._running = _Running(process, log)
        rules = "; ".join(_REDIRECT % (", ".join(map(str, ports)), to) for to, ports in self._ports.items() if ports)
        self.do("nft", _TURN_ASIDE % (_TABLE, rules), undo=("nft", "delete", "table", "ip", _TABLE))

    def ready(self) -> bool:
        """Return whether the proxy listens; HostCommandError tells what it said if it has ended."""
        process, _ = self._now()
        if process.poll() is not None:
            raise hosts.HostCommandError(f"haproxy on {self.node} ended: {self.log()}")
        rows = [row.split() for row in Path(f"/proc/{process.pid}/net/tcp").read_text().splitlines()[1:]]
        listening = {int(row[1].partition(":")[2], 16) for row in rows if row[3] == _LISTEN}
        return super().ready() and listening >= set(self._ports)

    def log(self) -> str:
        """Return what HAProxy has written, a line for each connection or request that has ended."""
        return self._now().log.read_text()

    def stop(self) -> None:
        """End the program in order and stop routing."""
        if self.state is State.FROZEN:
            self.resume()  # A process that stands still does not hear that it is to end.
        super().stop()

    def kill(self) -> None:
        """End the program alone: the kernel refuses connections to its ports from now on, and routes the rest."""
        processes.kill9(self._now().process)
        self.state = State.DEAD

    def freeze(self) -> None:
        """Stop the program alone: connections are accepted by the kernel, and nothing is done with them."""
        self.require(State.WORKING)
        self._now().process.send_signal(signal.SIGSTOP)
        self.state = State.FROZEN

    def resume(self) -> None:
        """Have the stopped program go on."""
        self.require(State.FROZEN)
        self._now().process.send_signal(signal.SIGCONT)
        self.state = State.WORKING

    def _now(self) -> _Running:
        if self._running is None:
            raise RuntimeError(f"the proxy on {self.node} was never started")
        return self._running

"""Real TCP connections leave the switch when they end, and not before."""

from __future__ import annotations

import time

import pytest

from mininet_scripts.support import hosts, traffic
from mininet_scripts.support.policy import group, layer, rule
from mininet_scripts.support.registration import address_of
from mininet_scripts.support.waiting import wait_until
from tests.mininet.lab import Lab
from topologies.two_hosts import TwoHosts

TOPOLOGY = TwoHosts

PORT = 80
# A connection closed in order keeps its client's port from being used again for a minute.
OWN_PORTS = {"close": 4000, "reset": 4001, "half": 4002}
GONE_WITHIN_S = 2.0
# What the server sends, 0.3 s apart, to a client that has closed its own half.
LINES = [str(number) for number in range(14)]


def serve(lab: Lab) -> None:
    """Register a VM on each host behind a firewall that lets in TCP to port 80 and nothing else."""
    lab.tenant("red", "vm1", "vm3")
    lab.layer("firewall", layer(stateful=True), open=group("inbound", rule("web", ip_proto="tcp", l4_dst=PORT)))


def entries(lab: Lab, how: str) -> list[str]:
    """Return the entries of the connection on both hosts."""
    return [line for host in ("h1", "h2") for line in lab.entries_of(host, f"={OWN_PORTS[how]}")]


def end(lab: Lab, how: str) -> str:
    """Return what a client received that opened a connection and ended it in this way."""
    return hosts.run(lab.host("vm1"), *command(how))


def command(how: str) -> tuple[str, ...]:
    """Return the command of a client that ends its connection in this way."""
    return *hosts.script("tcp_end.py"), how, address_of("vm3").ipv4, str(PORT), str(OWN_PORTS[how])


@pytest.mark.parametrize("how", ["close", "reset"])
def test_entries_leave_with_the_connection(lab: Lab, how: str) -> None:
    """M19: within two seconds of a close, or of a reset, no entry of the connection is left on either host."""
    serve(lab)
    with traffic.talking(lab.host("vm3"), "ready", *hosts.script("tcp_end.py"), "serve", "0.0.0.0", str(PORT)):
        assert end(lab, how) == "hello\n"
        closed_s = time.monotonic()
        wait_until(lambda: entries(lab, how), 10, "the entries to be gone", until=lambda left: not left)
        assert time.monotonic() - closed_s < GONE_WITHIN_S
        (flow,) = lab.flows("vm1", ip_proto="tcp", l4_src=str(OWN_PORTS[how]))
        assert flow["connection"] == "closing"


def test_a_half_closed_connection_goes_on(lab: Lab) -> None:
    """M19: a client that has closed its half receives for four seconds more, by the entries and not by misses."""
    serve(lab)
    with (
        traffic.talking(lab.host("vm3"), "ready", *hosts.script("tcp_end.py"), "serve", "0.0.0.0", str(PORT)),
        traffic.talking(lab.host("vm1"), "\n2\n", *command("half")) as client,
    ):
        assert len(entries(lab, "half")) == 4
        (flow,) = lab.flows("vm1", ip_proto="tcp", l4_src=str(OWN_PORTS["half"]))
        assert flow["connection"] == "established"
        before = lab.packet_ins()
        wait_until(client.output, 5, "the last line", until=lambda said: said.split() == ["hello", *LINES])
        assert lab.packet_ins() == before
        wait_until(lambda: entries(lab, "half"), GONE_WITHIN_S, "the entries to be gone", until=lambda left: not left)


def test_a_closed_connection_may_be_opened_again_at_once(lab: Lab) -> None:
    """M19: the same two ports connect again right after a reset, as often as they like."""
    serve(lab)
    with traffic.talking(lab.host("vm3"), "ready", *hosts.script("tcp_end.py"), "serve", "0.0.0.0", str(PORT)):
        for _ in range(5):
            assert end(lab, "reset") == "hello\n"

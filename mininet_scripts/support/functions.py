"""What a network function is told while a network runs: to filter, to stop, to reflect, to route."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from mininet.node import Node

from mininet_scripts.support import hosts

_FILTER = "table bridge vfswitch { chain forward { type filter hook forward priority 0; %s; }; }"
_MASQUERADE = "table ip vfswitch { chain leave { type nat hook postrouting priority 100; oifname %s masquerade; }; }"


@contextmanager
def filtering(function: Node, rule: str) -> Iterator[None]:
    """Have a bridge function drop by an nftables rule, such as `ip protocol icmp drop`, while the block runs."""
    hosts.run(function, "nft", _FILTER % rule)
    try:
        yield
    finally:
        hosts.run(function, "nft", "delete", "table", "bridge", "vfswitch")


@contextmanager
def stopped(function: Node) -> Iterator[None]:
    """Have a bridge function forward nothing while the block runs; its interfaces stay up."""
    hosts.run(function, "ip", "link", "set", "br0", "down")
    try:
        yield
    finally:
        hosts.run(function, "ip", "link", "set", "br0", "up")


@contextmanager
def reflecting(function: Node) -> Iterator[None]:
    """Have a bridge function send frames also back to where they came from while the block runs."""
    for interface in function.intfNames():
        hosts.run(function, "ip", "link", "set", interface, "type", "bridge_slave", "hairpin", "on")
    try:
        yield
    finally:
        for interface in function.intfNames():
            hosts.run(function, "ip", "link", "set", interface, "type", "bridge_slave", "hairpin", "off")


@contextmanager
def routing(function: Node, addresses: Mapping[str, str], *, masquerade: str | None = None) -> Iterator[None]:
    """Have a bridge function route between interfaces with these addresses instead, while the block runs.

    masquerade names the interface at which what leaves gets that interface's address (RFC 3022).
    """
    for interface, address in addresses.items():
        hosts.run(function, "ip", "link", "set", interface, "nomaster")
        hosts.run(function, "ip", "address", "add", address, "dev", interface)
    hosts.run(function, "sysctl", "-qw", "net.ipv4.ip_forward=1")
    if masquerade is not None:
        hosts.run(function, "nft", _MASQUERADE % masquerade)
    try:
        yield
    finally:
        if masquerade is not None:
            hosts.run(function, "nft", "delete", "table", "ip", "vfswitch")
        hosts.run(function, "sysctl", "-qw", "net.ipv4.ip_forward=0")
        for interface, address in addresses.items():
            hosts.run(function, "ip", "address", "delete", address, "dev", interface)
            hosts.run(function, "ip", "link", "set", interface, "master", "br0")


@contextmanager
def unplugged(interface: str, node: Node | None = None) -> Iterator[None]:
    """Have an interface of a bridge, or of a host, be down while the block runs."""
    hosts.run(node, "ip", "link", "set", interface, "down")
    try:
        yield
    finally:
        hosts.run(node, "ip", "link", "set", interface, "up")


@contextmanager
def shaping(function: Node, interface: str, rate: str) -> Iterator[None]:
    """Have a function send no more than a rate, such as `2mbit`, out of an interface while the block runs."""
    bucket = ("tbf", "rate", rate, "burst", "16kb", "latency", "50ms")
    hosts.run(function, "tc", "qdisc", "add", "dev", interface, "root", *bucket)
    try:
        yield
    finally:
        hosts.run(function, "tc", "qdisc", "delete", "dev", interface, "root")

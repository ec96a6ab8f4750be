"""What may befall a function that is a bridge from the start: a rule, a standstill, reflection, a link that is gone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mininet.node import Node

from mininet_scripts.support import hosts

_FILTER = "table bridge vfswitch { chain forward { type filter hook forward priority 0; %s; }; }"


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
def unplugged(interface: str, node: Node | None = None) -> Iterator[None]:
    """Have an interface of a bridge, or of a host, be down while the block runs."""
    hosts.run(node, "ip", "link", "set", interface, "down")
    try:
        yield
    finally:
        hosts.run(node, "ip", "link", "set", interface, "up")

"""A shaper of tc's token bucket filter."""

from __future__ import annotations

from collections.abc import Sequence

from mininet.node import Node

from mininet_scripts.support.functions.bridge import Bridge


class Shaper(Bridge):
    """A transparent bridge that sends no more than a rate out of an interface; the rest waits, then is dropped."""

    def __init__(
        self, node: Node, rate_kbps: int, interfaces: Sequence[str] = (), *, shaped: Sequence[str] | None = None
    ) -> None:
        """Prepare a shaper of what leaves by the interfaces `shaped`, each by itself, or by every one.

        The rate is that of Ethernet frames without preamble and check sequence.
        """
        super().__init__(node, interfaces)
        self.rate_kbps = rate_kbps
        self.shaped = self.interfaces if shaped is None else tuple(shaped)

    def set_up(self) -> None:
        """Set the buckets, then make the bridge."""
        # Of 50 ms TCP fills the queue and fast retransmission empties it, so that a connection holds the rate.
        bucket = ("tbf", "rate", f"{self.rate_kbps}kbit", "burst", "16kb", "latency", "50ms")
        for interface in self.shaped:
            at = ("dev", interface, "root")
            self.do("tc", "qdisc", "add", *at, *bucket, undo=("tc", "qdisc", "delete", *at))
        super().set_up()

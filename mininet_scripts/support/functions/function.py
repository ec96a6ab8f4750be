"""What all network functions have in common: how one starts, ends, dies, stands still and goes on."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from enum import Enum
from types import TracebackType
from typing import TypeVar

from mininet.node import Node

from mininet_scripts.support import hosts
from mininet_scripts.support.waiting import wait_until

READY_TIMEOUT_S = 10.0
_CUT = "table netdev %s { chain cut { type filter hook ingress devices = { %s } priority -500; policy drop; }; }"
_CUT_TABLE = "vfswitch_cut"

Function = TypeVar("Function", bound="NetworkFunction")


class State(Enum):
    """What a network function is doing."""

    STOPPED = "stopped"
    WORKING = "working"
    FROZEN = "frozen"
    DEAD = "dead"


class NetworkFunction(ABC):
    """A network function in the namespace of a host, at work between some of its interfaces while a block runs.

    Whatever happens in the block, at its end the namespace is as it was found.
    The interfaces keep their links through everything that befalls the function:
    `conditions.unplugged` takes a link away.
    """

    def __init__(self, node: Node, interfaces: Sequence[str] = ()) -> None:
        """Prepare a function between these interfaces, or between all that the host has."""
        self.node = node
        self.interfaces = tuple(interfaces) or tuple(node.intfNames())
        self.state = State.STOPPED
        self._undo = ExitStack()
        self._deaf = ExitStack()

    @abstractmethod
    def set_up(self) -> None:
        """Do all that the function needs, each step by `do` or `at_end`."""

    @abstractmethod
    def ready(self) -> bool:
        """Return whether the function does its work."""

    def start(self) -> None:
        """Set the function up, with nothing left of an earlier life; return when it does its work."""
        self.stop()
        try:
            for interface in self.interfaces:
                self._release(interface)
            self.set_up()
            wait_until(self.ready, READY_TIMEOUT_S, f"{type(self).__name__} on {self.node} to be ready")
        except BaseException:
            self._undo.close()
            raise
        self.state = State.WORKING

    def stop(self) -> None:
        """Take the function away in order; the namespace is as it was found."""
        self._undo.close()
        self._deaf.close()
        self.state = State.STOPPED

    def kill(self) -> None:
        """End the function without warning, until it is started again: nothing passes, and its memory is lost."""
        self._turn_deaf()
        self._undo.close()
        hosts.run(self.node, "conntrack", "-F")
        self.state = State.DEAD

    def freeze(self) -> None:
        """Have the function stand still: nothing passes, and nothing that it knows is lost."""
        # The kernel's forwarding is no process that a signal could stop.
        self.require(State.WORKING)
        self._turn_deaf()
        self.state = State.FROZEN

    def resume(self) -> None:
        """Have a frozen function go on where it was."""
        self.require(State.FROZEN)
        self._deaf.close()
        self.state = State.WORKING

    def require(self, state: State) -> None:
        """Raise RuntimeError unless the function is in this state."""
        if self.state is not state:
            raise RuntimeError(f"{type(self).__name__} on {self.node} is {self.state.value}, not {state.value}")

    def do(self, *command: str, undo: Sequence[str] = ()) -> None:
        """Run a command in the namespace, and the other one when the function ends."""
        hosts.run(self.node, *command)
        if undo:
            self.at_end(hosts.run, self.node, *undo)

    def at_end(self, action: Callable[..., object], *arguments: object) -> None:
        """Have something done when the function ends; the last one said is done first."""
        self._undo.callback(action, *arguments)

    def _release(self, interface: str) -> None:
        """Take an interface out of the bridge that it is in, to be put back at the end."""
        link = json.loads(hosts.run(self.node, "ip", "-json", "-details", "link", "show", "dev", interface))[0]
        if "master" in link:
            if link["linkinfo"]["info_slave_data"]["learning"] is False:
                self.at_end(hosts.run, self.node, "bridge", "link", "set", "dev", interface, "learning", "off")
            back = ("ip", "link", "set", interface, "master", str(link["master"]))
            self.do("ip", "link", "set", interface, "nomaster", undo=back)

    def _turn_deaf(self) -> None:
        """Have the kernel drop all that arrives at the interfaces, before anything else sees it."""
        if self.state in (State.FROZEN, State.DEAD):
            return
        hosts.run(self.node, "nft", _CUT % (_CUT_TABLE, ", ".join(self.interfaces)))
        self._deaf.callback(hosts.run, self.node, "nft", "delete", "table", "netdev", _CUT_TABLE)

    def __enter__(self: Function) -> Function:
        """Return the function, started."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the function, whatever state it is in."""
        self.stop()

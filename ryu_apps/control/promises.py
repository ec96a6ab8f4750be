"""Changes that were kept for hosts that were away: which hosts each waits for, and what has become of it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

_MOST_CHANGES: Final = 1024


class Standing(Enum):
    """How a host's switch stands against the policy."""

    AGREES = "it has confirmed all that it must have"
    WAITING = "it is away, or being brought to agree"
    REFUSES = "it was asked, and would not take what it must have; it is asked again whenever it connects"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a change has come.

    state: installed (every switch concerned has confirmed it, or what replaced it since), stored (kept, and waiting
    for the hosts named), failed (kept, and refused by the switches of the hosts in failures, with their words).
    """

    generation: int
    state: str
    waiting_for: tuple[str, ...] = ()
    failures: Mapping[str, str]


class Promises:
    """Remembers the hosts that the latest changes wait for."""

    def __init__(self) -> None:
        self._hosts: OrderedDict[int, frozenset[str]] = OrderedDict()

    def promise(self, generation: int, hosts: Iterable[str]) -> None:
        """Note that a change waits for these hosts; of too many changes the oldest is forgotten."""
        self._hosts[generation] = self._hosts.get(generation, frozenset()) | frozenset(hosts)
        if len(self._hosts) > _MOST_CHANGES:
            self._hosts.popitem(last=False)

    def progress(self, generation: int, standings: Mapping[str, tuple[Standing, str]]) -> Progress:
        """Return how far a change has come, given how each registered host stands, and why.

        Of a change that is not remembered, such as one from before a restart, all registered hosts are asked.
        """
        concerned = self._hosts.get(generation, frozenset(standings))
        waiting, failures = [], {}
        for host in sorted(concerned & standings.keys()):
            standing, detail = standings[host]
            if standing is Standing.REFUSES:
                failures[host] = detail
            elif standing is Standing.WAITING:
                waiting.append(host)
        state = "failed" if failures else "stored" if waiting else "installed"
        return Progress(generation=generation, state=state, waiting_for=tuple(waiting), failures=failures)

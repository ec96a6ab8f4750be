"""Reading the meters of misses where one of two switches is silent: the other one and the statistics go on."""

from __future__ import annotations

import struct
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import eventlet
import pytest
from eventlet.greenthread import GreenThread

from ryu_apps.control.core import ControlCore
from ryu_apps.engine.policy import compile_policy
from ryu_apps.model.policy import Snapshot
from ryu_apps.southbound import counting
from ryu_apps.southbound.counting import Counting
from ryu_apps.southbound.flood_watch import FloodWatch
from ryu_apps.southbound.links import Links
from ryu_apps.southbound.wire import Type
from tests.unit import policies
from tests.unit.southbound import messages
from tests.unit.southbound.loop import TIMEOUT_S, Loop, Peer, running, wait_until

SILENT, OTHER = 1, 2
METER_COUNTS = 9
AN_HOUR_S = 3600.0


@dataclass
class Watched:
    """Two switches, of which the first falls silent when it is told to, and what is asked of both."""

    links: Links
    core: ControlCore
    counting: Counting
    looks: Counter[int] = field(default_factory=Counter)
    silent: bool = False
    threads: list[GreenThread] = field(default_factory=list)

    def serve(self, peer: Peer, dpid: int) -> None:
        """Answer each question with an empty list, unless this is the silent one."""
        while True:
            message = peer.await_type(Type.MULTIPART_REQUEST)
            (kind,) = struct.unpack_from("!H", message, 8)
            self.looks[dpid] += kind == METER_COUNTS
            if not (self.silent and dpid == SILENT):
                peer.send(messages.multipart(kind, b"", xid=int.from_bytes(message[4:8], "big")))

    def fall_silent(self) -> None:
        """Return when the first switch has been asked for its meters and has not answered."""
        self.silent = True
        before = self.looks[SILENT]
        wait_until(lambda: self.looks[SILENT] > before, "a look at the silent switch")

    def is_looking(self) -> bool:
        """Return whether the look at the silent switch has not ended."""
        link = self.links.get(SILENT)
        return link is not None and bool(link.exchanges)


def _served(loop: Loop, made: Watched, dpid: int) -> None:
    peer, _ = loop.up(dpid)
    made.core.connected(dpid, {"p1": 1})
    made.threads.append(eventlet.spawn(made.serve, peer, dpid))


@pytest.fixture
def watched() -> Iterator[Watched]:
    """Return two switches with vports whose meters are read."""
    core = ControlCore(compile_policy(Snapshot().changed(policies.network())))
    with running() as loop:
        made = Watched(loop.links, core, Counting(core, loop.links, time.monotonic))
        for dpid in (SILENT, OTHER):
            _served(loop, made, dpid)
        made.threads.append(eventlet.spawn(FloodWatch(core, loop.links, made.counting, time.monotonic).watch))
        wait_until(lambda: made.looks[SILENT] and made.looks[OTHER], "both to be looked at")
        yield made
        for thread in made.threads:
            thread.kill()


def test_a_silent_switch_delays_no_look_at_another(watched: Watched) -> None:
    """S07, M21: while one switch is waited for the others are looked at as often as ever, and it only once."""
    watched.fall_silent()
    before = watched.looks.copy()

    def more() -> bool:
        since = watched.looks - before
        return since[OTHER] >= 2 * since[SILENT] + 2

    wait_until(more, "looks at the other switch alone", timeout_s=20)


def test_statistics_wait_for_no_look_at_a_silent_switch(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """M21: statistics that are fresh enough are told while a switch is waited for, however long."""
    monkeypatch.setattr(counting, "SOON_S", AN_HOUR_S)
    assert watched.counting.statistics(0).unanswered == ()
    watched.fall_silent()
    assert watched.is_looking()
    with eventlet.Timeout(TIMEOUT_S):
        watched.counting.statistics(AN_HOUR_S)
    assert watched.is_looking()


def test_floods_are_slowed_down_while_statistics_wait(watched: Watched) -> None:
    """S07, M21: while a round of statistics waits for a silent switch the others are looked at, and tell their counts;
    the round ends by its own time-out and names who was silent."""
    watched.fall_silent()
    asking = eventlet.spawn(watched.counting.statistics, 0)
    before = watched.looks[OTHER]
    # One look is of the round itself, and one may have been under way.
    wait_until(lambda: watched.looks[OTHER] > before + 4, "looks at the other switch")
    assert not asking.dead
    assert asking.wait().unanswered == (SILENT,)

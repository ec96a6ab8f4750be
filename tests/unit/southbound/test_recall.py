"""A silent switch with instances of functions: no change waits for it, and none of its entries changes unread."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import openflow
from benchmarks.fake_switch import Disconnected, FakeSwitch
from benchmarks.openflow import Multipart, Port, Type
from mininet_scripts.support.controller import Controller
from mininet_scripts.support.waiting import wait_until
from ryu_apps.control.events import PresentEntry
from ryu_apps.pipeline.cookie import Cookie, EntryClass
from ryu_apps.pipeline.tables import NUMBER
from tests.unit.southbound import messages

DPID = 0x101
NAMES = {9: "h1f-cable", 10: "fw-a-in", 11: "fw-a-out", 12: "fw-b-in", 13: "fw-b-out"}
PORTS = [Port(number, name, bytes((2, 0, 0, 0, 0, number))) for number, name in NAMES.items()]
# What catches the probes of instance `a`, and says that it has failed.
CAUGHT = PresentEntry(NUMBER["splice"], 210, Cookie(EntryClass.PROBE, detail=1).pack(),
                      messages.oxm_fields([("in_port", 11)]), b"", 0, 0, 0, 0)  # fmt: skip
HOST = {"dpid": "1", "hairpin": {"cable": "h1-cable", "function_port": {"dpid": "101", "cable": "h1f-cable"},
                                 "network_port": {"dpid": "201", "uplink": "h1n-uplink"}}}  # fmt: skip
FUNCTION: dict[str, Any] = {
    "instances": {name: {"host": "h1", "inside": f"fw-{name}-in", "outside": f"fw-{name}-out"} for name in "ab"},
    "probe": {"interval_ms": 10_000, "timeout_ms": 60_000, "fall": 10, "rise": 2},
}
# A change takes some ms. Who waited for the switch would wait 5 s and more each time.
CHANGES, TOGETHER_S = 6, 5.0


class PortTwo(FakeSwitch):
    """A connection of the functions' datapath; while it is silent it answers signs of life and nothing else."""

    def __init__(self, is_silent: Callable[[], bool]) -> None:
        super().__init__(5, DPID, PORTS)
        self.asked = False
        self._is_silent = is_silent

    def _handle(self, kind: int, xid: int, body: bytes) -> None:
        asks_entries = kind == Type.MULTIPART_REQUEST and int.from_bytes(body[:2], "big") == Multipart.FLOW
        asks = asks_entries or kind in (Type.BARRIER_REQUEST, Type.BUNDLE_CONTROL)
        self.asked = self.asked or asks
        if asks_entries and not self._is_silent():
            reply = struct.pack("!HHI", Multipart.FLOW, 0, 0) + messages.flow_stats(CAUGHT)
            self.send(openflow.message(self.version, Type.MULTIPART_REPLY, xid, reply))
        elif not (asks and self._is_silent()):
            super()._handle(kind, xid, body)


class Running:
    """A controller with a policy, and the one switch of three that is there."""

    def __init__(self, controller: Controller) -> None:
        self.controller = controller
        self.silent = True
        self.switch = self._new()
        self._again, self._over = threading.Event(), threading.Event()

    def _new(self) -> PortTwo:
        return PortTwo(lambda: self.silent)

    def serve(self) -> None:
        """Be connected, and anew when the connection ends or is to, until the end."""
        while not self._over.is_set():
            with suppress(Disconnected):
                self.switch.connect("127.0.0.1", self.controller.openflow_port)
                while not (self._again.is_set() or self._over.is_set()):
                    self.switch.pump(0.02)
            self.switch.close()
            self._again.clear()
            self.switch = self._new()

    def end(self) -> None:
        """Connect no more."""
        self._over.set()

    def reconnect(self, *, silent: bool) -> None:
        """Have the switch connect anew; return when it has been asked something."""
        before, self.silent = self.switch, silent
        self._again.set()
        wait_until(lambda: self.switch is not before and self.switch.asked, 20, "the switch to be asked")

    def put_async(self, path: str, body: object) -> Any:
        """Return the answer to a PUT that waits for no switch."""
        return self.controller.rest("PUT", f"/v1/{path}", body, headers={"Prefer": "respond-async"})

    def part(self) -> dict[str, Any]:
        """Return how the datapath stands against the policy."""
        return dict(self.controller.client.get("/v1/hosts/h1")["live"]["hairpin"]["function_port"])

    def until_part(self, **wanted: Any) -> None:
        """Return when the datapath stands so."""
        wait_until(self.part, 20, f"{wanted}", until=lambda now: all(now[key] == wanted[key] for key in wanted))

    def changes_take_s(self) -> float:
        """Return how long some changes take that concern no switch."""
        begun_s = time.monotonic()
        for number in range(CHANGES):
            assert self.controller.rest("PUT", f"/v1/layers/l{number}", {"position": number}).status in (200, 201)
            assert self.controller.rest("DELETE", f"/v1/layers/l{number}").status == 200
        return time.monotonic() - begun_s


@contextmanager
def connected(running: Running) -> Iterator[None]:
    """Have the switch connect to the controller while the block runs."""
    thread = threading.Thread(target=running.serve)
    thread.start()
    try:
        yield
    finally:
        running.end()
        thread.join()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """Return a controller that was started with a host of three datapaths, of which one connects and is silent."""
    with Controller(tmp_path) as controller:
        policy = {"tenants/red": {}, "hosts/h1": HOST, "functions/fw": FUNCTION,
                  "chains/c": {"tenant": "red", "hops": ["fw"]}, "segments/red": {"tenant": "red", "chain": "c"}}
        made = Running(controller)
        for path, body in policy.items():
            assert made.put_async(path, body).status in (200, 201, 202), path
        with connected(made):
            wait_until(lambda: made.switch.asked, 20, "the switch to be asked for its entries")
            yield made


def test_no_change_waits_for_a_silent_switch_and_none_is_sent_to_it(running: Running) -> None:
    """M26 H12: while a datapath with instances has not told who had failed, changes go on without it."""
    assert running.changes_take_s() < TOGETHER_S
    answer = running.put_async("functions/fw", _with_probes_to(44444))
    assert (answer.status, answer.body["outcome"]["state"]) == (202, "stored"), answer.body
    assert running.controller.rest("PUT", "/v1/functions/fw", FUNCTION).status == 503
    assert (running.switch.flow_mods, running.part()["state"]) == (0, "reconciling")


def test_what_it_tells_at_last_is_taken(running: Running) -> None:
    """M26 H12: when it answers at last it is brought to agree with what its entries say had failed."""
    running.reconnect(silent=False)
    running.until_part(state="ready")
    live = running.controller.client.get("/v1/functions/fw")["live"]["instances"]
    assert {name: (one["state"], one["reason"]) for name, one in live.items()} == {"a": ("down", "probe"),
                                                                                    "b": ("up", None)}
    caught = [made.cookie & 1 for made in running.switch.entries() if made.cookie >> 52 & 0xF == EntryClass.PROBE]
    assert sorted(caught) == [0, 1], "what catches the probes of `a` still says that it has failed"


def test_no_change_waits_for_one_that_comes_back_silent(running: Running) -> None:
    """M26: a datapath that was ready and comes back silent gets the lock of changes only when it answers again."""
    running.reconnect(silent=False)
    running.until_part(state="ready")
    running.reconnect(silent=True)
    running.until_part(state="reconciling")
    assert running.changes_take_s() < TOGETHER_S


def test_changes_wait_once_for_a_switch_that_falls_silent(running: Running) -> None:
    """M26: a change that is not confirmed is undone without asking that connection again, which is closed; when the
    switch is back and still silent no further change waits for it, not even one for its entries."""
    running.reconnect(silent=False)
    running.until_part(state="ready")
    running.silent = True
    # Longer than the one wait, of 10 s; undoing would wait for 30 s more.
    patient, prefer = replace(running.controller.client, timeout_s=25.0), {"Prefer": "respond-async"}
    assert patient.call("PUT", "/v1/functions/fw", _with_probes_to(44444), prefer).status == 504
    assert running.controller.client.get("/v1/functions/fw")["probe"]["packet"]["udp_dst"] == 33434
    running.reconnect(silent=True)
    running.until_part(state="reconciling")
    begun_s = time.monotonic()
    assert [running.put_async("functions/fw", _with_probes_to(port)).status for port in (1, 2, 3)] == [202] * 3
    assert time.monotonic() - begun_s < TOGETHER_S


def _with_probes_to(udp_dst: int) -> dict[str, Any]:
    return {**FUNCTION, "probe": {**FUNCTION["probe"], "packet": {"udp_dst": udp_dst}}}

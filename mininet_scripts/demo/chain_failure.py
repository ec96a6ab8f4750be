"""Steps that show functions failing: one killed in the middle of a transfer, and a hop without any that works."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mininet_scripts.demo.chain_tenants import RATE_KBPS
from mininet_scripts.demo.stage import Stage
from mininet_scripts.support import behind_nat, functions, hosts, traffic
from mininet_scripts.support.behind_nat import CLOSED_PORT, ECHO_PORT, FAR, NEAR
from mininet_scripts.support.waiting import wait_until

SECONDS = 4
SIZE_BYTES = RATE_KBPS * 125 * SECONDS
# The file is there so late only if the transfer stood still, and what TCP waits after a loss grows by doubling.
MOST_S = 40.0
_POLL_S = 0.01


def survived(stage: Stage) -> None:
    """Show that a transfer goes on, whole, when the filter that it passes dies with its links up."""
    with tempfile.TemporaryDirectory(prefix="vfswitch-demo-") as folder:
        source, copy = Path(folder) / "file", Path(folder) / "copy"
        source.write_bytes(os.urandom(SIZE_BYTES))
        serve = (sys.executable, "-u", "-m", "http.server", str(ECHO_PORT), "--directory", folder)
        fetch = ("curl", "-s", "-o", copy, f"http://{FAR.outside}:{ECHO_PORT}/file")
        with (
            traffic.talking(stage.host(FAR.vm), "Serving HTTP", *serve),
            hosts.background(stage.host(NEAR.vm), *fetch, output=Path(folder) / "curl.log") as process,
        ):
            wait_until(lambda: _size(copy), 10, "a quarter of the file", until=lambda size: size > SIZE_BYTES // 4)
            before = {name: _sent_bytes(name) for name in NEAR.filters}
            used = max(NEAR.filters, key=lambda name: before[name])
            (other,) = set(NEAR.filters) - {used}
            killed_at = time.monotonic()
            stage.functions[used].kill()
            failed_s = _until(lambda: _state(stage, used) == "down") - killed_at
            standstill_s = _longest_standstill_s(copy, lambda: process.poll() is not None)
            grown = _sent_bytes(other) - before[other]
        whole = _digest(copy) == _digest(source)
        stage.functions[used].start()
    stage.report.check(
        f"A transfer of {SIZE_BYTES / 1e6:.0f} MB whose filter {used} is killed at a quarter",
        f"{'whole' if whole else 'NOT WHOLE'}, longest standstill {standstill_s:.1f} s, "
        f"{grown / 1e6:.1f} MB by {other}",
        whole and process.returncode == 0 and grown > 0,
    )
    stage.report.check(f"Found dead by its probes, its links being up: {used}", f"after {failed_s:.1f} s", True)
    back_s = _until(lambda: _state(stage, used) == "up")
    stage.report.check(f"Started again: {used}", f"works again {back_s - killed_at:.1f} s after it was killed", True)


def closed_and_open(stage: Stage) -> None:
    """Show that a hop without an instance that works lets nothing pass, or is passed by where the chain says so."""
    chain = stage.client.get("/v1/chains/red")
    body = {name: chain[name] for name in ("tenant", "hops")}
    with (
        traffic.tcp_echo_server(stage.host(FAR.vm), ECHO_PORT),
        traffic.tcp_echo_server(stage.host(FAR.vm), CLOSED_PORT),
    ):
        closed_before = _connects(stage, CLOSED_PORT)
        with ExitStack() as stack:
            for side in behind_nat.SIDES:
                for name in side.filters:
                    stack.enter_context(functions.unplugged(f"{side.host}f-{name}-in"))
            _until(lambda: _states(stage) == {"down"})
            before = _refused(stage)
            failing_closed = _connects(stage, ECHO_PORT)
            dropped = wait_until(lambda: _refused(stage) - before, 5, "refusals to be counted")
            stage.client.put("/v1/chains/red", {**body, "fail": "open"})
            failing_open = _connects(stage, ECHO_PORT), _connects(stage, CLOSED_PORT)
            stage.client.put("/v1/chains/red", body)
        _until(lambda: _states(stage) == {"up"} and _connects(stage, ECHO_PORT))
        after = not _connects(stage, CLOSED_PORT)
    stage.report.check(
        "All filters gone, chain fails closed: a connection",
        f"{_word(failing_closed)}, {dropped} packets refused as no-function",
        not failing_closed and dropped > 0,
    )
    stage.report.check(
        "Chain fails open: the same, and one that the filter forbids",
        f"{_word(failing_open[0])}, {_word(failing_open[1])} (before: {_word(closed_before)})",
        failing_open == (True, True) and not closed_before,
    )
    stage.report.check("Filters back, chain closed again: both", f"connected, {_word(not after)}", after)


def _connects(stage: Stage, port: int) -> bool:
    """Return whether a new connection works; a first packet may find a neighbour not known yet."""
    return traffic.tcp_works(stage.host(NEAR.vm), FAR.outside, port, timeout_s=1.5)


def _word(connected: bool) -> str:
    return "connected" if connected else "no connection"


def _state(stage: Stage, instance: str) -> str:
    return str(stage.client.get("/v1/functions/filter")["live"]["instances"][instance]["state"])


def _states(stage: Stage) -> set[str]:
    live = stage.client.get("/v1/functions/filter")["live"]["instances"]
    return {str(instance["state"]) for instance in live.values()}


def _refused(stage: Stage) -> int:
    return int(stage.client.get("/v1/stats")["hosts"]["h1"]["refused"].get("no-function", 0))


def _until(look: Callable[[], Any]) -> float:
    """Return when something is so, on the monotonic clock."""
    wait_until(look, 20, "the instances' state")
    return time.monotonic()


def _sent_bytes(instance: str) -> int:
    """Return what the switch has sent into both sides of an instance."""
    ports = behind_nat.both(f"h1f-{instance}")
    return sum(int(Path(f"/sys/class/net/{port}/statistics/tx_bytes").read_text()) for port in ports)


def _longest_standstill_s(copy: Path, ended: Callable[[], bool]) -> float:
    """Return the longest time for which a file has not grown until something has ended."""
    begin = last = time.monotonic()
    size, longest = _size(copy), 0.0
    while not ended():
        now = time.monotonic()
        if now - begin > MOST_S:
            raise TimeoutError(f"the transfer stands at {size:,} of {SIZE_BYTES:,} bytes after {MOST_S:g} s")
        if _size(copy) != size:
            size, last = _size(copy), now
        longest = max(longest, now - last)
        time.sleep(_POLL_S)
    return longest


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""

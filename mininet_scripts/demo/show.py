"""How every demonstration runs: a controller and a network of its own, its steps, and a report."""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from mininet.topo import Topo

from mininet_scripts.demo.report import Report
from mininet_scripts.demo.stage import Stage
from mininet_scripts.support import hosts, network
from mininet_scripts.support.controller import Controller
from mininet_scripts.support.rest import RestError

FAILURES = (RestError, hosts.HostCommandError, TimeoutError, OSError)
INTERRUPTED = 130  # as a shell reports a command that Ctrl-C has ended


@dataclass(frozen=True)
class Show:
    """What a demonstration is made of; `prepared` sets the network up and holds while the steps are taken."""

    topology: Callable[[], Topo]
    built: str
    prepared: Callable[[Stage], AbstractContextManager[None]]
    preparing: str
    steps: Mapping[str, Callable[[Stage], None]]


def run(show: Show) -> int:
    """Return the exit status: 0 only if everything that was looked at held."""
    # Ended politely from outside, it takes its network away just as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    report = Report()
    try:
        network.check_ready()
        _run(show, report)
    except network.NotReady as reason:
        print(reason, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; the network has been taken away", file=sys.stderr)
        return INTERRUPTED
    report.print_table()
    return 1 if report.failed else 0


def _run(show: Show, report: Report) -> None:
    report.say("starting a controller with an empty state")
    with tempfile.TemporaryDirectory(prefix="vfswitch-demo-") as folder, Controller(Path(folder)) as controller:
        report.say(f"building {show.built}")
        with network.running(show.topology(), controller.openflow_port) as net:
            stage = Stage(controller.client, net, report)
            report.say(show.preparing)
            with show.prepared(stage):
                _take_steps(show, stage)
            if report.failed:
                report.detail("The end of the controller's log:", _without_access(controller.log()))
        report.say("network and controller taken away")


def _without_access(log: str) -> list[str]:
    """Return the end of a log without its lines about answered calls."""
    return [line for line in log.splitlines() if " accepted (" not in line and '" 20' not in line][-30:]


def _take_steps(show: Show, stage: Stage) -> None:
    """Take every step; one that breaks does not hide what the others show."""
    for title, step in show.steps.items():
        stage.report.say(title)
        try:
            step(stage)
        except FAILURES as error:
            stage.report.check(title.capitalize(), str(error).partition("\n")[0], False)

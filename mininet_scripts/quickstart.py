"""The main job on two hosts: policy in the controller for first packets, the switch alone for all others.

Starts a controller of its own with an empty state on free ports, builds the network, and takes both away again.
Exit status 0 only if everything that it looks at held. Needs root: run it with `make demo`.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

# Run as a file, its own folder is what Python searches; the packages lie beside it.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from mininet_scripts.demo import enforcement, offload, policy
from mininet_scripts.demo.report import Report
from mininet_scripts.demo.stage import Stage
from mininet_scripts.support import hosts, network
from mininet_scripts.support.controller import Controller
from mininet_scripts.support.rest import RestError
from topologies.two_hosts import TwoHosts

STEPS: dict[str, Callable[[Stage], None]] = {
    "pinging over both hosts": offload.round_trips,
    "sending 10,000 packets of one flow": offload.packet_ins,
    "measuring TCP throughput": offload.throughput,
    "trying a connection that a rule denies": enforcement.denied,
    "cutting a live connection by a rule, and bringing it back": enforcement.cut_and_restored,
    "forging frames": enforcement.forged,
}
FAILURES = (RestError, hosts.HostCommandError, TimeoutError, OSError)
INTERRUPTED = 130  # as a shell reports a command that Ctrl-C has ended


def main() -> int:
    """Return the exit status."""
    # Ended politely from outside, it takes its network away just as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    report = Report()
    try:
        network.check_ready()
        _run(report)
    except network.NotReady as reason:
        print(reason, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; the network has been taken away", file=sys.stderr)
        return INTERRUPTED
    report.print_table()
    return 1 if report.failed else 0


def _run(report: Report) -> None:
    report.say("starting a controller with an empty state")
    with tempfile.TemporaryDirectory(prefix="vfswitch-demo-") as folder, Controller(Path(folder)) as controller:
        report.say("building two hosts with two VMs each, a top-of-rack switch and an external host")
        with network.running(TwoHosts(), controller.openflow_port) as net:
            report.say("registering hosts, tenant and VMs, and putting a stateful firewall")
            policy.set_up(controller.client, net)
            _take_steps(Stage(controller.client, net, report))
            if report.failed:
                report.detail("The end of the controller's log:", _without_access(controller.log()))
        report.say("network and controller taken away")


def _without_access(log: str) -> list[str]:
    """Return the end of a log without its lines about answered calls."""
    return [line for line in log.splitlines() if " accepted (" not in line and '" 20' not in line][-30:]


def _take_steps(stage: Stage) -> None:
    """Take every step; one that breaks does not hide what the others show."""
    for title, step in STEPS.items():
        stage.report.say(title)
        try:
            step(stage)
        except FAILURES as error:
            stage.report.check(title.capitalize(), str(error).partition("\n")[0], False)


if __name__ == "__main__":
    sys.exit(main())

"""The main job on two hosts: policy in the controller for first packets, the switch alone for all others.

Starts a controller of its own with an empty state on free ports, builds the network, and takes both away again.
Exit status 0 only if everything that it looks at held. Needs root: run it with `make demo`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Run as a file, its own folder is what Python searches; the packages lie beside it.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from mininet_scripts.demo import enforcement, offload, policy
from mininet_scripts.demo.show import Show, run
from mininet_scripts.demo.stage import Stage
from topologies.two_hosts import TwoHosts


@contextmanager
def _prepared(stage: Stage) -> Iterator[None]:
    policy.set_up(stage.client, stage.net)
    yield


SHOW = Show(
    topology=TwoHosts,
    built="two hosts with two VMs each, a top-of-rack switch and an external host",
    prepared=_prepared,
    preparing="registering hosts, tenant and VMs, and putting a stateful firewall",
    steps={
        "pinging over both hosts": offload.round_trips,
        "sending 10,000 packets of one flow": offload.packet_ins,
        "measuring TCP throughput": offload.throughput,
        "trying a connection that a rule denies": enforcement.denied,
        "cutting a live connection by a rule, and bringing it back": enforcement.cut_and_restored,
        "forging frames": enforcement.forged,
    },
)

if __name__ == "__main__":
    sys.exit(run(SHOW))

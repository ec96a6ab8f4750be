"""README: what it says to put over a topology makes the network that it promises."""

from __future__ import annotations

import json
import re
from pathlib import Path

from mininet_scripts.support import hosts
from mininet_scripts.support.controller import Controller
from mininet_scripts.support.waiting import wait_until
from tests.mininet.conftest import StartNetwork
from topologies.chain_hosts import ChainHosts

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
CHAINS = README.partition("## Chains of network functions")[2].partition("\n## ")[0]


def test_the_chain_of_the_readme(controller: Controller, start_network: StartNetwork) -> None:
    """H11: each line works in its order, one VM reaches the other, and both hops have instances that work."""
    net = start_network(ChainHosts(n=2), controller)
    for path, body in re.findall(r"^put (\S+) +'(.*)'$", CHAINS, re.MULTILINE):
        controller.client.put(f"/v1/{path}", json.loads(body))
    wait_until(lambda: hosts.ping(net["vm1"], "10.0.0.2", count=2).all_answered, 10, "vm1 to reach vm2")
    live = controller.client.get("/v1/chains/red")["live"]
    found = [(hop["function"], hop["state"]) for hop in live["hosts"]["h1"]["hops"]]
    assert found == [("filter", "works"), ("shaper", "works")]

"""Policy put over REST with a real Open vSwitch behind it: how long until the switch has confirmed.

A private Open vSwitch with ports that are fed by hand, as in tests/ovs; 20,000 connections are begun through it.
More (`--flows`) make the figures harder, and begin slowly: this switch has no real ports.
Then: a group of 10,000 rules by one PUT, single rules by one client, a rule that touches 1,000 of the connections,
and a restart of the controller that finds two entries of each to compare.
Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import http.client
import json
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.measurement import print_table
from mininet_scripts.support.waiting import wait_until
from tests.ovs.scenario import DUMMY_QUEUE, Lab
from tests.ovs.site import Site
from tests.ovs.stations import EXT, VM1, rule, udp

FLOWS: Final = 20_000
PER_PORT: Final = 1000
RULES: Final = 10_000
PUTS: Final = 1000
SINGLE_RULES: Final = {"rule_puts_per_s": "layer1/groups/many", "rule_puts_per_s_small_group": "layer2/groups/few"}
BARS: Final = {"group_put_s": 2.0, "rule_puts_per_s": 500.0, "touching_1000_ms": 250.0, "reconcile_s": 5.0}


def begin(lab: Lab, count: int) -> None:
    """Let vm1 begin connections, PER_PORT to each destination port; return when the host knows all of them."""
    for start in range(0, count, DUMMY_QUEUE):
        ends = [(1024 + n % 50_000, 1000 + n // PER_PORT) for n in range(start, start + DUMMY_QUEUE)]
        lab.send(VM1, *[udp(VM1, EXT, l4_src, l4_dst, bytes(20)) for l4_src, l4_dst in ends])
    wait_until(lambda: lab.get("stats")["flows"], 60, f"{count} flows", until=lambda known: known >= count)


def rules(count: int) -> list[dict[str, Any]]:
    """Return rules of three shapes that no connection of `begin` meets."""
    shapes = (
        lambda n: {"ip_proto": "tcp", "l4_dst": str(30_000 + n)},
        lambda n: {"ip_proto": "udp", "ipv4_dst": f"198.51.{n % 256}.0/24", "l4_dst": f"{n}-{n + 9}"},
        lambda n: {"ip_proto": "tcp", "ipv4_src": f"192.0.2.{n % 256}", "l4_dst": str(30_000 + n)},
    )
    return [rule(f"r{n}", shapes[n % 3](n), "deny") for n in range(count)]


class Client:
    """One client that keeps its connection."""

    def __init__(self, rest_port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", rest_port, timeout=60)

    def put(self, path: str, body: object) -> float:
        """Return the seconds that a PUT took until its success."""
        data = json.dumps(body)
        started_s = time.perf_counter()
        self._connection.request("PUT", f"/v1/{path}", data, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        text = answer.read()
        elapsed_s = time.perf_counter() - started_s
        if answer.status not in (200, 201):
            raise RuntimeError(f"PUT {path}: {answer.status} {text.decode(errors='replace')}")
        return elapsed_s


def measure(site: Site, lab: Lab, flows: int) -> dict[str, float]:
    """Return the figures, by the names of BARS."""
    found: dict[str, float] = {}
    # The datapath forgets what it has learned from the entries soon; keeping so much current is all it would do.
    site.ovs.vsctl("set", "Open_vSwitch", ".", "other_config:max-idle=100")
    lab.tenant(VM1)
    for position in range(3):
        lab.layer(f"layer{position}", position, stateful=True, inbound="deny")
    lab.group("many", "outbound", layer="layer1")
    lab.group("few", "outbound", layer="layer2")
    begin(lab, flows)
    client = Client(site.controller.rest_port)
    body = {"applies_to": "all", "direction": "outbound", "priority": 100, "rules": rules(RULES)}
    found["group_put_s"] = client.put("layers/layer1/groups/many", body)
    for name, group in SINGLE_RULES.items():
        started_s = time.perf_counter()
        for n in range(PUTS):
            match = {"ip_proto": "tcp", "l4_dst": str(20_000 + n)}
            body = {"priority": 7, "match": match, "action": {"type": "deny"}}
            client.put(f"layers/{group}/rules/own{n}", body)
        found[name] = PUTS / (time.perf_counter() - started_s)
    denied = {"priority": 900, "match": {"ip_proto": "udp", "l4_dst": "1005"}, "action": {"type": "deny"}}
    found["touching_1000_ms"] = client.put("layers/layer2/groups/few/rules/touching", denied) * 1000
    # Those that were silent for longer than a refusal is kept go at once.
    touched = [entry for entry in lab.cached() if "1005" in (entry.matches["tp_src"], entry.matches["tp_dst"])]
    passing = [entry for entry in touched if entry.actions != "drop"]
    if passing:
        raise RuntimeError(f"{len(passing)} entries still let denied connections pass")
    entries = len(lab.cached())
    site.controller.kill9()
    site.controller.start()
    started_s = time.perf_counter()
    site.wait_ready(60)
    found["reconcile_s"] = time.perf_counter() - started_s
    (host,) = [item for item in lab.get("hosts")["items"] if item["id"] == "h1"]
    found["reconciled_entries"] = host["live"]["kept_entries"]
    # Refusals of connections that had been silent may have gone meanwhile.
    if host["live"]["kept_entries"] < entries - PER_PORT:
        raise RuntimeError(f"only {host['live']['kept_entries']} of {entries} entries were kept")
    return found


def main() -> None:
    """Start all of it, measure, stop it, and print."""
    parser = argparse.ArgumentParser(description="Measure policy changes on a real switch.")
    parser.add_argument("--flows", type=int, default=FLOWS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vfswitch-bench-") as folder:
        site = Site(Path(folder))
        try:
            site.start()
            found = measure(site, Lab(site), options.flows)
        finally:
            site.stop()
    rows = [(name, f"{value:,.3g}" if value < 100 else f"{value:,.0f}", f"{BARS[name]:g}" if name in BARS else "")
            for name, value in found.items()]  # fmt: skip
    print_table(("what", "measured", "bar"), rows)
    passed = {
        name: found[name] >= bar if name == "rule_puts_per_s" else found[name] <= bar for name, bar in BARS.items()
    }
    print(f"bars: {'pass' if all(passed.values()) else 'fail: ' + ', '.join(n for n, ok in passed.items() if not ok)}")
    print(json.dumps({"benchmark": "real_switch", **found, "pass": passed}))


if __name__ == "__main__":
    main()

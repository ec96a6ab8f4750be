"""How the cost of one look-up grows with the number of rules: 10 and 10,000 of the same mask shapes.

The packets hold fresh values in every field, so nothing that is remembered from an earlier packet helps.
Prints a table and one JSON line.
"""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Callable

from immutables import Map

from benchmarks.measurement import print_table
from ryu_apps.engine.classifier import GroupClassifier, classify
from ryu_apps.model.action import Allow
from ryu_apps.model.flow_key import FlowKey
from ryu_apps.model.match import parse_match
from ryu_apps.model.packet import build_key
from ryu_apps.model.rules import Direction, Group, Rule, Scope

SMALL, LARGE = 10, 10_000
PACKETS = 2_000
ROUNDS = 9
BAR = 2.0


def _shape(number: int, values: random.Random) -> dict[str, str]:
    """Return a match of one of five mask shapes."""
    first, second, port = values.randrange(256), values.randrange(256), values.randrange(1024, 60000)
    return (
        {"ip_proto": "tcp", "l4_dst": str(port)},
        {"ip_proto": "tcp", "ipv4_dst": f"10.{first}.{second}.0/24", "l4_dst": str(port)},
        {"ip_proto": "udp", "ipv4_src": f"10.{first}.0.0/16", "ipv4_dst": f"10.{second}.0.0/16"},
        {
            "ip_proto": "tcp",
            "ipv4_src": f"10.{first}.{second}.{number % 256}",
            "l4_dst": f"{100 * (number % 20) + 1}-9000",
        },
        {"ipv4_dst": f"10.{first}.{second}.{number % 256}"},
    )[number % 5]


def _group(count: int, values: random.Random) -> GroupClassifier:
    rules = {
        f"r{n}": Rule(id=f"r{n}", priority=values.randrange(1000), match=parse_match(_shape(n, values)), action=Allow())
        for n in range(count)
    }
    return classify(Group(id="g", layer="l", direction=Direction.OUTBOUND, scope=Scope(), priority=1, rules=Map(rules)))


def _packets(values: random.Random) -> list[FlowKey]:
    def address() -> str:
        return f"10.{values.randrange(256)}.{values.randrange(256)}.{values.randrange(256)}"

    return [
        build_key(
            {
                "ipv4_src": address(),
                "ipv4_dst": address(),
                "ip_proto": values.choice(["tcp", "udp"]),
                "l4_src": str(values.randrange(65536)),
                "l4_dst": str(values.randrange(65536)),
            },
            "packet",
        )
        for _ in range(PACKETS)
    ]


def _microseconds(look_up: Callable[..., object], keys: list[FlowKey]) -> float:
    started_s = time.perf_counter()
    for key in keys:
        look_up(*key)
    return (time.perf_counter() - started_s) / len(keys) * 1e6


def main() -> None:
    """Measure both sizes in turn, and print."""
    values = random.Random(1)
    small, large, keys = _group(SMALL, values), _group(LARGE, values), _packets(values)
    samples = [(_microseconds(small.find, keys), _microseconds(large.find, keys)) for _ in range(ROUNDS)]
    few, many = (statistics.median(column) for column in zip(*samples, strict=True))
    ratio = statistics.median(second / first for first, second in samples)
    print_table(("rules in the group", "µs per look-up"), [(f"{SMALL:,}", f"{few:.2f}"), (f"{LARGE:,}", f"{many:.2f}")])
    print(f"ratio: {ratio:.2f} (bar: at most {BAR:g})")
    print(json.dumps({"benchmark": "classifier", "us": {str(SMALL): few, str(LARGE): many}, "ratio": ratio}))


if __name__ == "__main__":
    main()

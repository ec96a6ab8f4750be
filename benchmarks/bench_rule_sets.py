"""Look-ups in real rule sets (ClassBench), against linear matching and between a thousand and ten thousand rules.

Each packet is made from a rule drawn at random, with random values where the rule leaves them open.
Two linear twins are timed: the plain one asks rule by rule, best first, whether it matches; the tuned one does the same
with the rules' masks in one flat list.
Prints a table and one JSON line.
"""

from __future__ import annotations

import gzip
import ipaddress
import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from immutables import Map

from benchmarks.measurement import print_table
from ryu_apps.engine.classifier import GroupClassifier, classify
from ryu_apps.model.action import Allow
from ryu_apps.model.flow_key import PROTOS_WITH_PORTS, Family, FlowKey
from ryu_apps.model.match import parse_match
from ryu_apps.model.packet import build_key
from ryu_apps.model.rules import Direction, Group, Rule, Scope

DATA: Final = Path(__file__).parent / "data" / "classbench"
SETS: Final = ("acl1_1k", "acl1_10k", "fw1_1k", "ipc1_1k")
PACKETS: Final = 2000
LINEAR_PACKETS: Final = 200
ROUNDS: Final = 7
GROWTH_BAR, LINEAR_BAR = 2.0, 20.0
_ALL_PORTS: Final = (0, 0xFFFF)


@dataclass(frozen=True, slots=True)
class Filter:
    """One line of a filter set; proto is None where any protocol matches."""

    source: ipaddress.IPv4Network
    target: ipaddress.IPv4Network
    l4_src: tuple[int, int]
    l4_dst: tuple[int, int]
    proto: int | None

    def match(self) -> dict[str, str]:
        """Return the filter as a match; ports are left out where the protocol has none."""
        written = {"eth_type": "ipv4", "ipv4_src": str(self.source), "ipv4_dst": str(self.target)}
        if self.proto is not None:
            written["ip_proto"] = str(self.proto)
        if self.proto in PROTOS_WITH_PORTS:
            for name, (low, high) in (("l4_src", self.l4_src), ("l4_dst", self.l4_dst)):
                if (low, high) != _ALL_PORTS:
                    written[name] = str(low) if low == high else f"{low}-{high}"
        return written

    def packet(self, values: random.Random) -> FlowKey:
        """Return the key of a packet that the filter matches."""
        proto = values.choice((6, 17)) if self.proto is None else self.proto
        written = {
            "ipv4_src": str(self.source[values.randrange(self.source.num_addresses)]),
            "ipv4_dst": str(self.target[values.randrange(self.target.num_addresses)]),
            "ip_proto": str(proto),
        }
        if proto in PROTOS_WITH_PORTS:
            written |= {"l4_src": str(values.randint(*self.l4_src)), "l4_dst": str(values.randint(*self.l4_dst))}
        return build_key(written, "packet")


def read(name: str) -> list[Filter]:
    """Return the filters of a set, best first."""
    filters = []
    for line in gzip.decompress((DATA / f"{name}.gz").read_bytes()).decode().splitlines():
        source, target, l4_src, l4_dst, proto = line.removeprefix("@").split("\t")[:5]
        number, mask = (int(part, 16) for part in proto.split("/"))
        filters.append(
            Filter(
                ipaddress.IPv4Network(source, strict=False),
                ipaddress.IPv4Network(target, strict=False),
                _range(l4_src),
                _range(l4_dst),
                number if mask == 0xFF else None,
            )
        )
    return filters


def _range(text: str) -> tuple[int, int]:
    low, high = (int(part) for part in text.split(":"))
    return low, high


def group_of(filters: Sequence[Filter]) -> Group:
    """Return a group with a rule for each filter."""
    rules = {
        f"r{n}": Rule(id=f"r{n}", priority=len(filters) - n, match=parse_match(each.match()), action=Allow())
        for n, each in enumerate(filters)
    }
    return Group(id="g", layer="l", direction=Direction.OUTBOUND, scope=Scope(), priority=1, rules=Map(rules))


def plain_linear(group: Group) -> Callable[[FlowKey], str | None]:
    """Return the look-up that asks rule by rule."""
    ordered = sorted(group.rules.values(), key=lambda rule: rule.precedence)
    return lambda key: next((rule.id for rule in ordered if rule.match.matches(key)), None)


def tuned_linear(group: Group) -> Callable[[FlowKey], str | None]:
    """Return the look-up in one flat list of masks, values and port ranges."""
    flat = [
        (condition.mask, condition.value, *condition.l4_src, *condition.l4_dst, rule.id)
        for rule in sorted(group.rules.values(), key=lambda rule: rule.precedence)
        for family, condition in rule.match.conditions
        if family is Family.IPV4
    ]

    def find(key: FlowKey) -> str | None:
        bits = key.bits
        for mask, value, src_low, src_high, dst_low, dst_high, rule in flat:
            if (
                bits & mask == value
                and src_low <= bits >> 16 & 0xFFFF <= src_high
                and dst_low <= bits & 0xFFFF <= dst_high
            ):
                return rule
        return None

    return find


def _microseconds(look_up: Callable[[FlowKey], object], keys: Sequence[FlowKey]) -> float:
    started_s = time.perf_counter()
    for key in keys:
        look_up(key)
    return (time.perf_counter() - started_s) / len(keys) * 1e6


def measure(name: str, values: random.Random) -> dict[str, float]:
    """Return microseconds a look-up of the classifier and both twins, after seeing that all three agree."""
    filters = read(name)
    group = group_of(filters)
    classifier: GroupClassifier = classify(group)
    plain, tuned = plain_linear(group), tuned_linear(group)
    keys = [values.choice(filters).packet(values) for _ in range(PACKETS)]
    for key in keys[:LINEAR_PACKETS]:
        found = classifier.find(*key)
        if found is None or not found.rule == plain(key) == tuned(key):
            raise AssertionError(f"{name}: the look-ups disagree about {key}")
    return {
        "rules": len(filters),
        "us": statistics.median(_microseconds(lambda key: classifier.find(*key), keys) for _ in range(ROUNDS)),
        "plain_us": statistics.median(_microseconds(plain, keys[:LINEAR_PACKETS]) for _ in range(3)),
        "tuned_us": statistics.median(_microseconds(tuned, keys[:LINEAR_PACKETS]) for _ in range(3)),
    }


def main() -> None:
    """Measure all sets, and print."""
    values = random.Random(1)
    found = {name: measure(name, values) for name in SETS}
    rows = [
        (name, f"{each['rules']:,.0f}", f"{each['us']:.1f}", f"{each['plain_us']:,.0f}", f"{each['tuned_us']:,.0f}",
         f"{each['plain_us'] / each['us']:.0f}", f"{each['tuned_us'] / each['us']:.0f}")
        for name, each in found.items()
    ]  # fmt: skip
    print_table(("rule set", "rules", "µs", "linear µs", "tuned linear µs", "× linear", "× tuned"), rows)
    growth = found["acl1_10k"]["us"] / found["acl1_1k"]["us"]
    least = min(each["plain_us"] / each["us"] for each in found.values())
    passed = growth <= GROWTH_BAR and least >= LINEAR_BAR
    print(f"acl1_10k / acl1_1k: {growth:.2f} (bar: at most {GROWTH_BAR:g})")
    print(f"least gain over linear matching: {least:.0f} × (bar: at least {LINEAR_BAR:g})")
    print(f"bars: {'pass' if passed else 'fail'}")
    print(json.dumps({"benchmark": "rule_sets", "sets": found, "growth": growth, "least_gain": least, "pass": passed}))


if __name__ == "__main__":
    main()

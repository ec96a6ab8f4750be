"""Flow entries as `ovs-ofctl dump-flows` prints them."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FIELD = re.compile(r"\s*(cookie|duration|table|n_packets|n_bytes|idle_age|hard_age)=([^,\s]+),?")
_TIMEOUT = re.compile(r"\b(idle_timeout|hard_timeout|importance)=(\d+),")
_PRIORITY = re.compile(r"\bpriority=(\d+),?")
_FLAGS = frozenset({"send_flow_rem", "check_overlap", "reset_counts", "no_packet_counts", "no_byte_counts"})
_DEFAULT_PRIORITY = 32768


@dataclass(frozen=True, kw_only=True)
class FlowEntry:
    """One installed flow entry; `match` and `actions` are in ovs-ofctl's words."""

    table: int
    priority: int
    cookie: int
    match: str
    actions: str
    n_packets: int
    n_bytes: int
    idle_timeout_s: int
    hard_timeout_s: int
    flags: tuple[str, ...]
    text: str

    @property
    def matches(self) -> dict[str, str]:
        """Return the match as field → value; a protocol's shorthand such as `tcp` has an empty value."""
        pairs = (part.partition("=") for part in self.match.split(",") if part)
        return {name: value for name, _, value in pairs}


def parse(line: str) -> FlowEntry:
    """Return the entry of one line."""
    text = line.strip()
    head, _, actions = text.partition("actions=")
    fields = dict(_FIELD.findall(head))
    rest = _FIELD.sub("", head)
    timeouts = dict(_TIMEOUT.findall(rest))
    rest = _TIMEOUT.sub("", rest)
    found = _PRIORITY.search(rest)
    words = _PRIORITY.sub("", rest).replace(",", " , ").split()
    flags = tuple(word for word in words if word in _FLAGS)
    match = "".join(word for word in words if word not in flags).strip(",")
    return FlowEntry(
        table=int(fields.get("table", "0")),
        priority=int(found[1]) if found else _DEFAULT_PRIORITY,
        cookie=int(fields.get("cookie", "0"), 16),
        match=match,
        actions=actions,
        n_packets=int(fields.get("n_packets", "0")),
        n_bytes=int(fields.get("n_bytes", "0")),
        idle_timeout_s=int(timeouts.get("idle_timeout", "0")),
        hard_timeout_s=int(timeouts.get("hard_timeout", "0")),
        flags=flags,
        text=text,
    )


def parse_all(dump: str) -> list[FlowEntry]:
    """Return the entries of a whole dump, its heading left out."""
    return [parse(line) for line in dump.splitlines() if "actions=" in line]

"""Entries as text: what is shown is what Open vSwitch's own tool reads."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ryu_apps.model.rules import Direction
from ryu_apps.model.transposition import transposition
from ryu_apps.pipeline.cached import CachedEntry, compile_cached
from ryu_apps.pipeline.entry import FlowEntry
from ryu_apps.pipeline.show import show
from tests.unit.pipeline.networks import Network, networks
from tests.unit.pipeline.test_base import entries_of
from tests.unit.policies import tcp
from tests.unit.southbound.entries import cached_entries, treated_entries

OFCTL = shutil.which("ovs-ofctl", path="/usr/bin:/usr/sbin:/bin:/sbin:/usr/local/bin")
needs_ofctl = pytest.mark.skipif(OFCTL is None, reason="ovs-ofctl is not installed")
in_one_folder = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def parsed(entries: Iterable[FlowEntry], folder: Path) -> list[str]:
    """Return what ovs-ofctl understands of the entries, a line each; it says which line it does not."""
    page = folder / "flows.txt"
    page.write_text("\n".join(map(show, entries)) + "\n")
    command = [str(OFCTL), "-O", "OpenFlow14", "parse-flows", str(page)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stderr}\n{page.read_text()}"
    return re.findall(r"ADD .*", done.stdout)


@needs_ofctl
@in_one_folder
@given(networks())
def test_standing_entries_are_read_by_ovs_ofctl(tmp_path: Path, network: Network) -> None:
    """Every standing entry of every network is accepted as it is shown, with its cookie and nothing added."""
    for entries in entries_of(network).values():
        lines = parsed(entries, tmp_path)
        assert len(lines) == len(entries)
        for line, entry in zip(lines, entries, strict=True):
            assert f"cookie:0x{entry.cookie:x}" in line
            assert ("actions=drop" in line) is (entry.goto is None and not entry.actions and not entry.meter)


@needs_ofctl
@in_one_folder
@given(st.lists(cached_entries() | treated_entries(), min_size=1, max_size=20))
def test_exact_entries_are_read_by_ovs_ofctl(tmp_path: Path, made: list[CachedEntry]) -> None:
    """Exact entries of any family and edit are accepted as they are shown; none loses a field on the way."""
    entries = [compile_cached(one) for one in made]
    lines = parsed(entries, tmp_path)
    assert len(lines) == len(entries)
    for line, entry in zip(lines, entries, strict=True):
        assert f"cookie:0x{entry.cookie:x}" in line
        assert (f"idle:{entry.idle_timeout_s}" in line) is bool(entry.idle_timeout_s)
        for name, value in entry.match:
            if name.startswith("reg"):
                assert f"{name}={value:#x}" in line or f"{name}=0," in line


def test_a_cached_entry_reads_as_a_person_would_write_it() -> None:
    """The text names fields as ovs-ofctl does and ends in its actions."""
    made = CachedEntry(0, Direction.OUTBOUND, 1, 101, tcp(), False, True, transposition({"l4_dst": 8080}), 300, 0)
    assert show(compile_cached(made)) == (
        "table=3,priority=100,idle_timeout=300,reg0=0x1,reg1=0x65,dl_type=0x800,nw_proto=6,"
        "dl_dst=02:00:00:00:00:02,dl_src=02:00:00:00:00:01,nw_dst=10.0.0.2,nw_src=10.0.0.1,"
        "tcp_dst=80,tcp_src=40000,vlan_tci=0x0 actions=set_field:8080->tcp_dst,goto_table:4"
    )

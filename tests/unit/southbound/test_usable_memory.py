"""How much memory the process may use."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from ryu_apps.southbound.usable_memory import usable_bytes

MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
MIB = 1 << 20


@pytest.mark.parametrize(
    ("group", "limits", "usable"),
    [
        ("0::/a/b", {"a/b": f"{64 * MIB}"}, 64 * MIB),
        ("0::/a/b", {"a": f"{64 * MIB}", "a/b": "max"}, 64 * MIB),
        ("0::/a/b", {"a": f"{64 * MIB}", "a/b": f"{32 * MIB}"}, 32 * MIB),
        ("0::/", {"": f"{64 * MIB}"}, 64 * MIB),
        ("0::/a", {"a": "max"}, MACHINE),
        ("0::/a", {"b": f"{64 * MIB}"}, MACHINE),
        ("0::/a", {"a": f"{1 << 60}"}, MACHINE),
        ("7:memory:/a", {"a": f"{64 * MIB}"}, MACHINE),
        ("0::/../..", {"": f"{64 * MIB}"}, 64 * MIB),
    ],
)
def test_the_least_limit_of_its_control_groups_counts(
    tmp_path: Path, group: str, limits: dict[str, str], usable: int
) -> None:
    """Its own group's and those above; what cannot be read limits nothing."""
    (tmp_path / "cgroup").write_text(f"1:name=systemd:/\n{group}\n")
    for name, limit in limits.items():
        (tmp_path / "groups" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name / "memory.max").write_text(limit + "\n")
    assert usable_bytes(tmp_path, tmp_path / "groups") == usable


def test_where_nothing_says_so_it_is_the_machines(tmp_path: Path) -> None:
    """A kernel without control groups has no such file."""
    assert usable_bytes(tmp_path, tmp_path) == MACHINE


def test_the_limit_of_the_process_counts() -> None:
    """RLIMIT_AS, as `ulimit -v` sets it."""
    program = "from ryu_apps.southbound.usable_memory import usable_bytes; print(usable_bytes())"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (512 * MIB, 512 * MIB))

    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, preexec_fn=limit)
    assert int(run.stdout) <= 512 * MIB

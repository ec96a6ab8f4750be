"""The demonstration of chains, as its users start it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.mininet.test_launch import REPOSITORY, nothing_is_left

SCRIPT = REPOSITORY / "mininet_scripts" / "hairpin.py"


def test_hairpin_holds(tmp_path: Path) -> None:
    """H10 H11 H12 H16: it ends with status 0 and a picture that names every hop, and leaves nothing behind."""
    picture = tmp_path / "way.svg"
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--picture", str(picture)],
        capture_output=True, text=True, timeout=300, check=False, cwd="/",
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert "All " in done.stdout and " NO" not in done.stdout
    drawn = picture.read_text()
    for hop in ("h1-cable", "tbf1-in", "nat1-out", "h1n-uplink", "nat2-out", "grd1-in", "grd2-out", "VLAN 300"):
        assert hop in drawn
    assert nothing_is_left()

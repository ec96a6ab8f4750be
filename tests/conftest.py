"""What all tiers share: which tiers run, how properties are searched, and controllers under test."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from mininet_scripts.support.controller import Controller

TIERS = ("unit", "ovs", "mininet")
# Names the tiers to run, for instance `VFSWITCH_TESTS=unit,ovs`; without it all run and none is skipped.
TIERS_VARIABLE = "VFSWITCH_TESTS"

StartController = Callable[..., Controller]

# Tests start hundreds of controllers, four at a time: memory for a million connections in each would be in the way.
os.environ.setdefault("VFSWITCH_READY_FLOWS", "20000")

hypothesis.settings.register_profile(
    "vfswitch",
    deadline=None,  # two shared cores: a slow example says nothing
    database=None,  # a file of root in a user's tree; a failing example is printed with its seed instead
    print_blob=True,
)
hypothesis.settings.load_profile("vfswitch")

# A shell starts what it puts in the background with SIGINT ignored, and every program of a test would inherit that:
# those that are ended by Ctrl-C would not end.
signal.signal(signal.SIGINT, signal.default_int_handler)


def _chosen_tiers() -> tuple[str, ...]:
    chosen = tuple(tier.strip() for tier in os.environ.get(TIERS_VARIABLE, ",".join(TIERS)).split(",") if tier.strip())
    unknown = sorted(set(chosen) - set(TIERS))
    if unknown or not chosen:
        raise pytest.UsageError(f"{TIERS_VARIABLE} takes a list of {', '.join(TIERS)}; not {unknown or 'nothing'}")
    return chosen


def pytest_report_header() -> str:
    """Return the line that says which tiers run."""
    left_out = [tier for tier in TIERS if tier not in _chosen_tiers()]
    note = f"; left out by {TIERS_VARIABLE}: {', '.join(left_out)}" if left_out else ""
    return f"tiers: {', '.join(_chosen_tiers())}{note}"


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Return True for the folder of a tier that was not chosen."""
    tests = Path(__file__).parent
    if collection_path.parent == tests and collection_path.name in TIERS:
        return collection_path.name not in _chosen_tiers() or None
    return None


@pytest.fixture
def start_controller(tmp_path: Path) -> Iterator[StartController]:
    """Return a function that starts a controller with its own folder, log and ports; all end with the test."""
    started: list[Controller] = []

    def start(**arguments: Any) -> Controller:
        folder = tmp_path / f"controller-{len(started)}"
        folder.mkdir()
        controller = Controller(folder, **arguments)
        started.append(controller)
        controller.start()
        return controller

    yield start
    for controller in started:
        controller.stop()
        # pytest shows this only for a test that failed.
        print(f"--- {controller.log_path}\n{controller.log_tail()}")


@pytest.fixture
def controller(start_controller: StartController) -> Controller:
    """Return a running controller with our apps and an empty state."""
    return start_controller()

"""Benchmarks are run seldom, so that they load is seen here."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import benchmarks
from benchmarks import bench_southbound_micro
from ryu_apps.model.flow_key import Family


@pytest.mark.parametrize("name", sorted(found.name for found in pkgutil.iter_modules(benchmarks.__path__)))
def test_a_benchmark_loads(name: str) -> None:
    """Row S07 and all others that a benchmark shows: what it imports from other files is there."""
    importlib.import_module(f"benchmarks.{name}")


def test_the_receive_loop_can_be_measured_alone() -> None:
    """Row S07: what stands in for the core in the southbound's benchmark has all that the receive loop asks for."""
    (made, *_) = bench_southbound_micro.entries(Family.IPV4)
    assert bench_southbound_micro.receive_loop(made) > 0

"""Benchmarks are run seldom, so that they load is seen here."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import benchmarks


@pytest.mark.parametrize("name", sorted(found.name for found in pkgutil.iter_modules(benchmarks.__path__)))
def test_a_benchmark_loads(name: str) -> None:
    """Row S07 and all others that a benchmark shows: what it imports from other files is there."""
    importlib.import_module(f"benchmarks.{name}")

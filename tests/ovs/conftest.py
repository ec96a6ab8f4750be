"""Fixtures of the switch tier."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ovs.harness.switch import OpenVSwitch


@pytest.fixture
def ovs() -> Iterator[OpenVSwitch]:
    """Return a private Open vSwitch without bridges; it ends with the test."""
    switch = OpenVSwitch()
    try:
        switch.start()
        yield switch
    finally:
        switch.stop()

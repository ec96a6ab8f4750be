"""Fixtures of the switch tier."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ovs.harness.switch import OpenVSwitch
from tests.ovs.scenario import Lab
from tests.ovs.site import Site


@pytest.fixture
def ovs() -> Iterator[OpenVSwitch]:
    """Return a private Open vSwitch without bridges; it ends with the test."""
    switch = OpenVSwitch()
    try:
        switch.start()
        yield switch
    finally:
        switch.stop()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Return two hosts and a controller that the tests of one file share."""
    shared = Site(tmp_path_factory.mktemp("site"))
    try:
        shared.start()
        yield shared
    finally:
        shared.stop()


@pytest.fixture
def lab(site: Site) -> Iterator[Lab]:
    """Return the shared site with an empty policy, for one test."""
    logged = len(site.controller.log())
    yield Lab(site)
    # pytest shows this only for a test that failed.
    print(f"--- {site.controller.log_path}\n{site.controller.log()[logged:]}")


@pytest.fixture
def own_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Return two hosts and a controller of a test's own, which it may kill."""
    own = Site(tmp_path_factory.mktemp("site"))
    try:
        own.start()
        yield own
    finally:
        own.stop()
        print(f"--- {own.controller.log_path}\n{own.controller.log()}")

"""Fixtures of the network tier."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from mininet.net import Mininet
from mininet.topo import Topo

from mininet_scripts.support import network
from mininet_scripts.support.controller import Controller
from tests.conftest import TIERS_VARIABLE
from topologies.single_host import SingleHost
from topologies.two_hosts import TwoHosts

StartNetwork = Callable[..., Mininet]


@pytest.fixture(scope="session", autouse=True)
def _ready() -> None:
    """Fail, not skip, where networks cannot be built: a skipped tier looks like one that passed."""
    try:
        network.check_ready()
    except network.NotReady as reason:
        pytest.fail(f"{reason}\nTo leave this tier out, name the others: {TIERS_VARIABLE}=unit,ovs", pytrace=False)


@pytest.fixture
def start_network() -> Iterator[StartNetwork]:
    """Return a function that starts a topology, with a controller or without; it ends with the test."""
    with ExitStack() as stack:

        def start(topo: Topo, controller: Controller | None = None) -> Mininet:
            openflow_port = None if controller is None else controller.openflow_port
            return stack.enter_context(network.running(topo, openflow_port))

        yield start


@pytest.fixture
def single_host(controller: Controller, start_network: StartNetwork) -> Mininet:
    """Return a running SingleHost with three VMs, connected to the `controller` fixture."""
    return start_network(SingleHost(), controller)


@pytest.fixture
def two_hosts(controller: Controller, start_network: StartNetwork) -> Mininet:
    """Return a running TwoHosts with two VMs on each host, connected to the `controller` fixture."""
    return start_network(TwoHosts(), controller)

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
from tests.mininet.lab import Lab
from topologies.single_host import SingleHost
from topologies.two_hosts import TwoHosts

StartNetwork = Callable[..., Mininet]


@pytest.fixture(scope="session", autouse=True)
def _ready() -> None:
    """Fail, not skip, where networks cannot be built: a skipped tier looks like one that passed."""
    missing = ""
    try:
        network.check_ready()
    except network.NotReady as reason:
        missing = str(reason)
    if missing:
        pytest.fail(f"{missing}\nTo leave this tier out, name the others: {TIERS_VARIABLE}=unit,ovs", pytrace=False)


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


@pytest.fixture(scope="module")
def shared_lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Yield the network that a module names as its TOPOLOGY, with a controller; it lives as long as the module."""
    topology: Callable[[], Topo] = request.module.TOPOLOGY
    with (
        Controller(tmp_path_factory.mktemp("controller")) as controller,
        network.running(topology(), controller.openflow_port) as net,
    ):
        yield Lab(controller, net)


@pytest.fixture
def lab(shared_lab: Lab) -> Iterator[Lab]:
    """Yield the module's network without tenants, vports and layers."""
    shared_lab.reset()
    before = len(shared_lab.controller.log())
    yield shared_lab
    # pytest shows this only for a test that failed.
    print(shared_lab.controller.log()[before:])

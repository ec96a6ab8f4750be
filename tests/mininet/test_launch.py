"""The ways in which users start the network: with `mn`, and with the quickstart."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mininet_scripts.support import hosts, network, processes
from mininet_scripts.support.controller import Controller
from mininet_scripts.support.waiting import wait_until
from topologies.guest_driver import GuestDriver
from topologies.parts import address_params
from topologies.single_host import SingleHost
from topologies.two_hosts import TwoHosts

REPOSITORY = Path(__file__).resolve().parent.parent.parent
QUICKSTART = REPOSITORY / "mininet_scripts" / "quickstart.py"
PROMPT = "mininet> "
TOPOLOGIES = {"single_host": SingleHost, "two_hosts": TwoHosts, "guest_driver": GuestDriver}
# What a user of mn types into another terminal: hosts, tenant, segment, and the VMs of each host.
SET_UP = {
    "single_host": {"h1": ("vm1", "vm2")},
    "two_hosts": {"h1": ("vm1", "vm2"), "h2": ("vm3", "vm4")},
    "guest_driver": {"h1": ("vm1", "vm2")},
}


@pytest.mark.parametrize("topology", SET_UP)
def test_mn_pings_all_after_set_up_by_curl(controller: Controller, tmp_path: Path, topology: str) -> None:
    """S02, M13: a topology started by `mn` and set up by `curl` lets all hosts ping all others, by either miss path."""
    through_vm = topology == "guest_driver"
    with mn(topology, controller.openflow_port, tmp_path / "mn.log") as said:
        curl(controller, "tenants/red", "{}")
        for number, (host, vms) in enumerate(SET_UP[topology].items(), 1):
            curl(controller, f"hosts/{host}", f'{{"dpid": "{number:016x}", "uplink": "{host}-uplink", '
                 f'"miss": "{"vm" if through_vm else "pf"}"}}')  # fmt: skip
            if number == 1:
                curl(controller, "segments/red", '{"tenant": "red", "vlan": 0}')
            for vf, vm in enumerate(vms, 1):
                address = address_params(int(vm[2:]))
                synthetic = f'"{host}-syn{vf}"' if through_vm else "null"
                curl(
                    controller, f"vports/{vm}",
                    f'{{"host": "{host}", "port": "{host}-vf{vf}", "tenant": "red", "mac": "{address["mac"]}", '
                    f'"ips": ["{address["ip"].split("/")[0]}", "{address["ip6"].split("/")[0]}"], '
                    f'"vlan": {100 + int(vm[2:])}, "synthetic": {synthetic}}}',
                )  # fmt: skip
        output = said("pingall")
    assert re.search(r"Results: 0% dropped \((\d+)/\1 received\)", output), output


def test_quickstart_holds() -> None:
    """M01 M15 S12: the quickstart ends with status 0, shows no line that did not hold, and leaves nothing behind."""
    done = subprocess.run(
        [sys.executable, str(QUICKSTART)], capture_output=True, text=True, timeout=120, check=False, cwd="/"
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "All " in done.stdout and " NO" not in done.stdout
    assert nothing_is_left()


def test_interrupted_quickstart_leaves_nothing() -> None:
    """M01: Ctrl-C in the middle of the quickstart ends it with status 130, its network and controller taken away."""
    with subprocess.Popen(
        [sys.executable, str(QUICKSTART)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "pinging" in line:
                break
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 130
    assert nothing_is_left()


@contextmanager
def mn(topology: str, openflow_port: int, log: Path) -> Iterator[Callable[[str], str]]:
    """Yield a function that types a command into a running `mn` and returns what it printed."""
    command = ["mn", "--custom", f"topologies/{topology}.py", "--topo", f"{topology},2"]
    command += ["--controller", f"remote,ip=127.0.0.1,port={openflow_port}"]
    # In a process namespace of its own: where it fails, mn kills controllers by name, whoever's they are.
    own = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    with network.exclusive(), log.open("wb") as output:
        process = subprocess.Popen(
            [*own, *command],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        stdin = process.stdin
        assert stdin is not None

        def prompted(after: int) -> str:
            return wait_until(
                lambda: log.read_text()[after:], 60, "the prompt of mn", until=lambda text: text.endswith(PROMPT)
            )

        def said(line: str) -> str:
            after = log.stat().st_size
            stdin.write(f"{line}\n".encode())
            stdin.flush()
            return prompted(after)

        try:
            prompted(0)
            yield said
            stdin.write(b"exit\n")
            stdin.close()
            assert process.wait(30) == 0, log.read_text()
        finally:
            processes.kill9(process)
            network.remove_leftovers(TOPOLOGIES[topology](2))


def curl(controller: Controller, path: str, body: str) -> None:
    """Put a resource with curl, as documentation says it."""
    url = f"http://127.0.0.1:{controller.rest_port}/v1/{path}"
    json = ["--header", "Content-Type: application/json", "--data", body]
    hosts.run(None, "curl", "--silent", "--show-error", "--fail-with-body", "--request", "PUT", *json, url)


def nothing_is_left() -> bool:
    """Return whether no bridge and no link of a topology is there."""
    with network.exclusive():
        links = hosts.run(None, "ip", "-brief", "link").splitlines()
        bridges = set(hosts.run(None, "ovs-vsctl", "list-br").split())
    return not bridges & {"h1", "h2", "tor"} and not [line for line in links if line.startswith(("h1", "h2", "tor"))]

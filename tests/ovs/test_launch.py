"""Starting: both ways to name the apps, beside Ryu's own, where the state is, and what start-up says."""

from __future__ import annotations

import resource
import socket
import stat
import urllib.request
from pathlib import Path

import pytest

from mininet_scripts.support.controller import Controller
from mininet_scripts.support.waiting import wait_until
from ryu_apps.southbound.reserve import FLOW_BYTES, ready_flows
from ryu_apps.southbound.usable_memory import usable_bytes
from tests.conftest import StartController
from tests.ovs.harness.switch import OpenVSwitch

FILES = ("ryu_apps/vswitch.py", "ryu_apps/rest_api.py")
MODULES = ("ryu_apps.vswitch", "ryu_apps.rest_api")


def _ready(controller: Controller) -> bool:
    return controller.client.get("/v1/hosts/h1")["live"]["state"] == "ready"


@pytest.mark.parametrize("apps", [FILES, MODULES], ids=["files", "modules"])
@pytest.mark.parametrize("beside", [(), ("ryu.app.ofctl_rest",), ("ryu.app.rest_topology",)], ids=str)
def test_both_launches_work_alone_and_beside_ryus_own_apps(
    start_controller: StartController, ovs: OpenVSwitch, apps: tuple[str, ...], beside: tuple[str, ...]
) -> None:
    """M26: the apps start by file and by module name, bring a switch up, and leave Ryu's own apps working."""
    controller = start_controller(apps=(*apps, *beside))
    ovs.add_bridge("h1", 1, {"h1-vf1": 1, "h1-uplink": 9})
    assert controller.rest("PUT", "/v1/hosts/h1", {"dpid": "1", "uplink": "h1-uplink"}).status == 201
    ovs.set_controller("h1", controller.openflow_port)
    wait_until(lambda: _ready(controller), 10, "h1 to be ready")
    base = f"http://127.0.0.1:{controller.rest_port}"
    if "ryu.app.ofctl_rest" in beside:
        with urllib.request.urlopen(f"{base}/stats/switches", timeout=5) as answer:
            assert answer.read() == b"[1]"
        with urllib.request.urlopen(f"{base}/stats/flow/1", timeout=5) as answer:
            assert b'"table_id": 5' in answer.read()
    if "ryu.app.rest_topology" in beside:
        with urllib.request.urlopen(f"{base}/v1.0/topology/switches", timeout=5) as answer:
            assert b"h1-vf1" in answer.read()


def test_start_up_says_what_it_listens_on_and_where_its_state_is(controller: Controller) -> None:
    """M26: a few lines tell the addresses, the state file, and what was restored from it."""
    log = controller.log()
    assert f"OpenFlow 1.4 on 127.0.0.1:{controller.openflow_port}" in log
    assert f"REST on http://127.0.0.1:{controller.rest_port}/v1" in log
    assert str(controller.state_path) in log and "0 vports" in log
    controller.client.put("/v1/tenants/red", {})
    controller.restart()
    assert controller.client.get("/v1/tenants/red")["id"] == "red"


def test_the_state_file_is_named_by_option_before_environment(
    start_controller: StartController, tmp_path: Path
) -> None:
    """M26: the option vfswitch_state stands before VFSWITCH_STATE; the file is the owner's alone."""
    config = tmp_path / "ryu.conf"
    state = tmp_path / "by-option" / "policy.sqlite"
    config.write_text(f"[DEFAULT]\nvfswitch_state = {state}\n")
    controller = start_controller(options=("--config-file", str(config)))
    assert str(state) in controller.log() and not controller.state_path.exists()
    assert stat.S_IMODE(state.stat().st_mode) == 0o600


def test_without_either_the_state_is_in_the_users_state_directory(
    start_controller: StartController, tmp_path: Path
) -> None:
    """M26: the default place follows the XDG base directory rule."""
    controller = start_controller(env={"VFSWITCH_STATE": "", "XDG_STATE_HOME": str(tmp_path / "xdg")})
    assert (tmp_path / "xdg" / "vfswitch").is_dir()
    assert str(tmp_path / "xdg" / "vfswitch") in controller.log()


def test_it_listens_on_loopback_unless_told_otherwise(start_controller: StartController) -> None:
    """M26: neither port answers on another address of this machine."""
    controller = start_controller()
    for port in (controller.openflow_port, controller.rest_port):
        with pytest.raises(OSError), socket.create_connection(("127.0.0.2", port), timeout=2):
            pass


def resident_kib(controller: Controller) -> int:
    """Return the resident set of a controller."""
    status = Path(f"/proc/{controller.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def test_memory_for_flows_is_held_by_option_before_environment(
    start_controller: StartController, tmp_path: Path
) -> None:
    """M23: the operator says for how many flows memory is held from the start; unasked it is what suits the machine."""
    config = tmp_path / "ryu.conf"
    config.write_text("[DEFAULT]\nvfswitch_ready_flows = 400000\n")
    none = {"VFSWITCH_READY_FLOWS": "0"}
    few = start_controller(env=none)
    many = start_controller(env=none, options=("--config-file", str(config)))
    unasked = start_controller(env={"VFSWITCH_READY_FLOWS": ""})
    for controller, flows in ((many, 400_000), (unasked, ready_flows(usable_bytes()))):
        assert resident_kib(controller) - resident_kib(few) > 0.9 * flows * FLOW_BYTES / 1024
        assert f"memory for {flows} connections" in controller.log()


NO_NUMBERS = [
    *(("vfswitch_ready_flows", value) for value in ("many", "-1", "16000001", "1e6", "9" * 5000)),
    *(("vfswitch_half_open_limit", value) for value in ("0", "1.5", "9" * 5000)),
]


@pytest.mark.parametrize("by_file", [True, False], ids=["file", "environment"])
@pytest.mark.parametrize(("option", "value"), NO_NUMBERS, ids=lambda value: value[:25])
def test_a_number_that_is_none_ends_the_start_with_its_name(
    start_controller: StartController, tmp_path: Path, option: str, value: str, by_file: bool
) -> None:
    """M26: what cannot be meant is said, in one line and without a traceback, before anything is made."""
    config = tmp_path / "ryu.conf"
    config.write_text(f"[DEFAULT]\n{option} = {value}\n" if by_file else "[DEFAULT]\n")
    env = {} if by_file else {option.upper(): value}
    with pytest.raises(RuntimeError) as refused:
        start_controller(env=env, options=("--config-file", str(config)))
    name = option if by_file else option.upper()
    assert f"vfswitch cannot start: {name} is '{value[:40]}' and must be a number" in str(refused.value)
    assert "Traceback" not in str(refused.value)
    assert not list(tmp_path.rglob("*.sqlite*"))


def test_memory_that_is_not_there_ends_the_start_with_the_options_name(
    start_controller: StartController, tmp_path: Path
) -> None:
    """M26: asked for more than the process may have, it says so and what to do."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, hard))
    try:
        with pytest.raises(RuntimeError) as refused:
            start_controller(env={"VFSWITCH_READY_FLOWS": "16000000"})
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert "there is no memory for 16000000 connections; set vfswitch_ready_flows or" in str(refused.value)
    assert "Traceback" not in str(refused.value)

"""The same connection under TLS, as Ryu's own listener makes it."""

from __future__ import annotations

import ssl
import subprocess
import time
from pathlib import Path

import eventlet
from ryu.lib import hub

from ryu_apps.control.effects import Emit, Install, SwitchChange
from ryu_apps.southbound import calls
from ryu_apps.southbound.limits import Limits
from ryu_apps.southbound.links import Links
from tests.ovs.harness.switch import OpenVSwitch
from tests.ovs.test_southbound import DPID, frame, made_for, pipeline
from tests.unit.southbound.loop import Recorder, running, wait_until


def _certificate(folder: Path, name: str) -> tuple[str, str]:
    """Return the files of a fresh key and its self-signed certificate."""
    key, certificate = str(folder / f"{name}.key"), str(folder / f"{name}.crt")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
         "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    return key, certificate


def test_a_switch_is_driven_over_tls(ovs: OpenVSwitch, tmp_path: Path) -> None:
    """Handshake, a change of many entries, a dump and a miss all work over TLS with certificates on both sides."""
    our_key, ours = _certificate(tmp_path, "controller")
    its_key, its = _certificate(tmp_path, "switch")
    recorder = Recorder()
    with running():
        links = Links(recorder, time.monotonic, Limits())
        server = hub.StreamServer(
            ("127.0.0.1", 0), links.serve, keyfile=our_key, certfile=ours, ca_certs=its,
            cert_reqs=ssl.CERT_REQUIRED, ssl_ctx=ssl.SSLContext(ssl.PROTOCOL_TLS),
        )  # fmt: skip
        serving = eventlet.spawn(server.serve_forever)
        ovs.add_bridge("nic", DPID, ["p1", "p2"])
        ovs.vsctl("set-ssl", its_key, its, ours)
        ovs.vsctl("set-controller", "nic", f"ssl:127.0.0.1:{server.server.getsockname()[1]}")
        wait_until(lambda: links.get(DPID), "the switch")
        link = links.get(DPID)
        assert link is not None
        calls.commit(link, SwitchChange(dpid=DPID, added=pipeline()))
        recorder.answer = lambda event: [
            Install(DPID, made_for(event)),
            Emit(DPID, event.table, event.in_port, event.segment, event.sender, event.receiver, event.frame),
        ]
        ovs.receive("p1", frame())
        wait_until(lambda: ovs.sent("p2") == [frame()], "the frame")
        first = made_for(recorder.of("packet_in")[0])
        many = tuple(first._replace(key=first.key._replace(bits=first.key.bits + (n << 32))) for n in range(1, 20_001))
        calls.commit(link, SwitchChange(dpid=DPID, added=many), timeout_s=60)
        assert len(calls.dump_flows(link)) == len(pipeline()) + 1 + len(many)
        link.close()
        serving.kill()

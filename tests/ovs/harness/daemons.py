"""The two daemons of an Open vSwitch of our own, in a run directory of their own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

from mininet_scripts.support import processes
from mininet_scripts.support.waiting import wait_until
from tests.ovs.harness import unixctl

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
START_TIMEOUT_S = 10.0


class Daemons:
    """A private ovsdb-server and ovs-vswitchd; each ends by its own process id."""

    def __init__(self) -> None:
        # Not pytest's tmp_path: a unix socket's path may have 107 bytes only.
        self.folder = Path(tempfile.mkdtemp(prefix="vfs-", dir="/tmp"))
        self._env = os.environ | {
            "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/bin",
            "OVS_RUNDIR": str(self.folder),
            "OVS_LOGDIR": str(self.folder),
            "OVS_DBDIR": str(self.folder),
            "OVS_SYSCONFDIR": str(self.folder),
        }
        self._server: subprocess.Popen[bytes] | None = None
        self._switch: subprocess.Popen[bytes] | None = None
        self._starts = 0

    @property
    def database(self) -> str:
        """Return the database's address, as ovs-vsctl and OVSDB clients take it."""
        return f"unix:{self.folder}/db.sock"

    def start(self) -> None:
        """Start both daemons; return when both answer."""
        if not SCHEMA.exists():
            raise RuntimeError(f"{SCHEMA} is missing: install openvswitch-switch (make setup)")
        self.run("ovsdb-tool", "create", self.folder / "conf.db", SCHEMA)
        self._server = self._spawn("ovsdb-server", self.folder / "conf.db", f"--remote=p{self.database}")
        self._wait_for("ovsdb-server", self._server, self.folder / "db.sock")
        self.run("ovs-vsctl", f"--db={self.database}", "--no-wait", "init")
        self.start_switch()

    def start_switch(self) -> None:
        """Start ovs-vswitchd on the database as it is; return when it has taken it over."""
        self._switch = self._spawn(
            "ovs-vswitchd", self.database, "--enable-dummy", "--disable-system", "--disable-system-route"
        )
        self._wait_for("ovs-vswitchd", self._switch, self.folder / "ovs-vswitchd.ctl")
        # ovs-vsctl waits until the switch has done what the database says, but only after a change.
        self._starts += 1
        self.run(
            "ovs-vsctl", f"--db={self.database}", "--timeout=10",
            "set", "Open_vSwitch", ".", f"external_ids:starts={self._starts}",
        )  # fmt: skip

    @property
    def switch_pid(self) -> int:
        """The process id of the running ovs-vswitchd."""
        assert self._switch is not None
        return self._switch.pid

    def stop_switch(self) -> None:
        """End ovs-vswitchd and keep the database, as in a crash of the switch."""
        if self._switch is not None:
            processes.kill9(self._switch)
            self._switch = None
            for socket in (*self.folder.glob("*.mgmt"), self.folder / "ovs-vswitchd.ctl"):
                socket.unlink(missing_ok=True)

    def stop(self) -> None:
        """End both daemons and remove what they left."""
        self.stop_switch()
        if self._server is not None:
            processes.kill9(self._server)
            self._server = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, *arguments: str | Path, stdin: str | None = None, timeout_s: float = 30.0) -> str:
        """Return the output of one command of Open vSwitch, pointed at these daemons."""
        command = [str(argument) for argument in arguments]
        done = subprocess.run(
            command, env=self._env, input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        if done.returncode:
            raise unixctl.CommandError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def appctl(self, command: str, *arguments: str) -> str:
        """Return the answer of ovs-vswitchd to one control command; no process is started for it."""
        return unixctl.call(self.folder / "ovs-vswitchd.ctl", command, *arguments)

    def log(self) -> str:
        """Return what ovs-vswitchd has logged."""
        return (self.folder / "ovs-vswitchd.log").read_text(errors="replace")

    def _spawn(self, daemon: str, *arguments: str | Path) -> subprocess.Popen[bytes]:
        common = [f"--unixctl={self.folder}/{daemon}.ctl", f"--log-file={self.folder}/{daemon}.log"]
        quiet = ["--no-chdir", "-vconsole:off", "-vsyslog:off", "-vfile:info"]
        return processes.spawn([daemon, *arguments, *common, *quiet], env=self._env)

    def _wait_for(self, daemon: str, process: subprocess.Popen[bytes], place: Path) -> None:
        def listens() -> bool:
            if process.poll() is not None:
                log = self.folder / f"{daemon}.log"
                said = log.read_text(errors="replace") if log.exists() else "(no log)"
                raise RuntimeError(f"{daemon} ended with status {process.returncode}:\n{said}")
            # The file is there a moment before anybody listens at it.
            with socket.socket(socket.AF_UNIX) as asking:
                return asking.connect_ex(str(place)) == 0

        wait_until(listens, START_TIMEOUT_S, f"{daemon} to listen at {place}")

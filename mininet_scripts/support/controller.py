"""A controller process: `ryu-manager` with our apps, on ports of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from mininet_scripts.support import processes
from mininet_scripts.support.rest import RestAnswer, RestClient
from mininet_scripts.support.waiting import free_tcp_port, wait_until

REPOSITORY = Path(__file__).resolve().parent.parent.parent
APPS = ("ryu_apps/vswitch.py", "ryu_apps/rest_api.py")
START_TIMEOUT_S = 20.0


class Controller:
    """One controller on 127.0.0.1; a restart keeps its ports and its state file."""

    def __init__(
        self,
        folder: Path,
        *,
        apps: Sequence[str] = APPS,
        options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        ready_path: str = "/v1/hosts",
        token: str = "",
    ) -> None:
        """Keep log and state in `folder`; started when REST answers at `ready_path`; calls are made with `token`."""
        self.log_path = folder / "controller.log"
        self.state_path = folder / "state.sqlite"
        self.openflow_port = free_tcp_port()
        self.rest_port = free_tcp_port()
        self.client = RestClient(f"http://127.0.0.1:{self.rest_port}", token=token)
        self._apps = tuple(apps)
        self._options = tuple(options)
        self._env = dict(env or {})
        self._ready_path = ready_path
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Controller:
        """Return the started controller."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self.stop()

    @property
    def pid(self) -> int:
        """Return the process id of the running controller."""
        if self._process is None:
            raise RuntimeError("the controller is not running")
        return self._process.pid

    def start(self) -> None:
        """Start ryu-manager and return when REST answers."""
        if self._process is not None:
            raise RuntimeError("the controller is already running")
        # Not resolved: the environment's python is a link, and ryu-manager lies beside the link.
        command: list[str | Path] = [Path(sys.executable).parent / "ryu-manager", *self._apps]
        command += ["--ofp-listen-host", "127.0.0.1", "--ofp-tcp-listen-port", str(self.openflow_port)]
        command += ["--wsapi-host", "127.0.0.1", "--wsapi-port", str(self.rest_port), *self._options]
        own = {"VFSWITCH_STATE": str(self.state_path), "VFSWITCH_TOKENS": "", "PYTHONUNBUFFERED": "1"}
        env = os.environ | own | self._env
        with self.log_path.open("ab") as log:
            self._process = processes.spawn(command, env=env, cwd=REPOSITORY, output=log)
        try:
            wait_until(self._answers, START_TIMEOUT_S, f"the controller to answer {self._ready_path}")
        except KeyboardInterrupt:
            self.stop()
            raise
        except Exception as error:
            self.stop()
            raise RuntimeError(f"{error}\n--- end of its log ---\n{self.log_tail()}") from error

    def stop(self) -> None:
        """End it as an operator would; return when it is gone."""
        if self._process is not None:
            processes.stop(self._process)
            self._process = None

    def kill9(self) -> None:
        """End it with SIGKILL, at whatever it is doing; return when it is gone."""
        if self._process is not None:
            processes.kill9(self._process)
            self._process = None

    def restart(self) -> None:
        """End it if it runs, and start it again on the same ports and state."""
        self.stop()
        self.start()

    def rest(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> RestAnswer:
        """Return (status, headers, body) of one call, whatever the status."""
        return self.client.call(method, path, body, headers)

    def log(self) -> str:
        """Return everything it has logged since its first start."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def log_tail(self, lines: int = 60) -> str:
        """Return the last lines of its log."""
        return "\n".join(self.log().splitlines()[-lines:])

    def _answers(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise RuntimeError(f"the controller ended with status {self._process.returncode}")
        try:
            return self.client.call("GET", self._ready_path).status < 500
        except OSError:
            return False

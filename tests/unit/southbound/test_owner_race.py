"""The running controller with two writers at the same time: rights hold for the policy that a change meets."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import eventlet
import pytest
from ryu.base import app_manager  # noqa: F401  (must come first: Ryu's modules import each other in a circle)
from ryu.controller import controller
from ryu.lib import hub

from ryu_apps.api.application import Api
from ryu_apps.api.http import Request
from ryu_apps.control.core import ControlCore
from ryu_apps.engine.policy import compile_policy
from ryu_apps.model.errors import Forbidden
from ryu_apps.model.policy import Change, Snapshot
from ryu_apps.model.rights import Rights
from ryu_apps.model.tokens import Token, Tokens, token_hash
from ryu_apps.southbound.service import SwitchService
from ryu_apps.store.keeper import StoreKeeper
from tests.unit.southbound.loop import wait_until

TOKENS = Tokens(
    Token(id=name, sha256=token_hash(f"{name}.secret"), rights=Rights(owner=owner, may_write=True))
    for name, owner in {"root": "admin", "x": "x", "y": "y"}.items()
)
GROUP = {"direction": "inbound", "priority": 1, "rules": []}


class WaitingKeeper(StoreKeeper):
    """A store that takes its time: it keeps changes when the test lets it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.asked = hub.Event()
        self.may_go_on = hub.Event()

    def keep(self, changes: Sequence[Change], before: Snapshot) -> None:
        """Wait for the test, and keep the changes."""
        self.asked.set()
        self.may_go_on.wait()
        super().keep(changes, before)


class Running:
    """A controller without switches, and its REST application, asked from green threads."""

    def __init__(self, folder: Path) -> None:
        self.keeper = WaitingKeeper(folder / "state.sqlite")
        self.keeper.may_go_on.set()
        self.service = SwitchService(ControlCore(compile_policy(self.keeper.restored), first_flow_id=1), self.keeper)
        self._api = Api(self.service, lambda error: pytest.fail(repr(error)), nullcontext(), TOKENS)
        self.bodies_read: list[str] = []

    def ask(self, who: str, method: str, path: str, value: Any = None) -> tuple[int, Any]:
        """Return status and body of the answer to one request."""

        def body() -> bytes:
            self.bodies_read.append(path)
            return json.dumps(value).encode()

        headers = {"authorization": f"Bearer {who}.secret", "content-type": "application/json"}
        response = self._api.handle(Request(method=method, path=f"/v1/{path}", headers=headers, body=body))
        return response.status, json.loads(response.body)

    def put(self, who: str, path: str, value: Any) -> None:
        """Put something that is accepted."""
        status, answer = self.ask(who, "PUT", path, value)
        assert status in (200, 201), answer


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """Return a controller in which layer fw is x's."""
    # A service takes over Ryu's connections for good; this one gives them back.
    monkeypatch.setattr(controller, "datapath_connection_factory", controller.datapath_connection_factory)
    made = Running(tmp_path)
    made.put("x", "layers/fw", {"position": 1, "owner": "x"})
    made.put("x", "layers/fw/groups/web", GROUP)
    yield made
    made.keeper.close()


@pytest.mark.parametrize(
    ("method", "path", "value"),
    [
        ("PUT", "layers/fw", {"position": 2, "owner": "x"}),
        ("PUT", "layers/fw/groups/web", {**GROUP, "priority": 2}),
        ("DELETE", "layers/fw/groups/web", None),
    ],
)
def test_an_owner_that_changes_while_a_request_waits(
    running: Running, method: str, path: str, value: Any
) -> None:
    """M27: a request that came while its client owned the layer is refused when its turn comes after a hand-over."""
    running.keeper.asked.clear()
    running.keeper.may_go_on.clear()
    running.bodies_read.clear()
    hand_over = hub.spawn(running.ask, "root", "PUT", "layers/fw", {"position": 1, "owner": "y"})
    wait_until(running.keeper.asked.is_set, "hand-over to reach the store")
    late = eventlet.spawn(running.ask, "x", method, path, value)
    # It was let in by token and path, as the layer is still x's, and now waits for the one before it.
    wait_until(lambda: len(running.bodies_read) == 2, "second request to be let in")
    before = running.service.snapshot()
    assert before.layers["fw"].owner == "x"

    running.keeper.may_go_on.set()

    status, answer = late.wait()
    assert (status, "layer 'fw' belongs to owner 'y'" in answer["detail"]) == (403, True), answer
    assert hand_over.wait()[0] == 200
    assert running.service.snapshot().layers["fw"].owner == "y"
    assert running.service.snapshot().layers["fw"].position == 1
    assert running.service.snapshot().groups == before.groups
    assert running.ask("y", "PUT", "layers/fw/groups/web", {**GROUP, "priority": 3})[0] == 200


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("rights", [Rights(owner="y", may_write=True), Rights(owner="x", may_write=False)], ids=str)
def test_the_controller_itself_refuses(running: Running, rights: Rights, dry_run: bool) -> None:
    """M27: the controller refuses whatever let a request pass before, a dry run and what is there already included."""
    before = running.service.snapshot()
    for value in (before.layers["fw"], replace(before.layers["fw"], position=2), None):
        with pytest.raises(Forbidden):
            running.service.change(
                [Change(kind="layers", key="fw", value=value)], rights=rights, dry_run=dry_run
            )
    assert running.service.snapshot() is before

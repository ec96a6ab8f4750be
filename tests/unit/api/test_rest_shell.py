"""The HTTP shell as a process: methods, hostile bodies, clients at the same time, other apps beside it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mininet_scripts.support.controller import APPS, Controller
from ryu_apps.api.http import BODY_LIMIT_BYTES
from tests.unit.api.connection import TIMEOUT_S, Connection


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    """Return one controller for all tests of this file, with one of Ryu's own REST apps beside ours."""
    folder = tmp_path_factory.mktemp("controller")
    with Controller(folder, apps=(*APPS, "ryu.app.ofctl_rest")) as controller:
        yield controller


def test_life_of_a_resource(running: Controller) -> None:
    """What is put is shown, replaced and deleted, each with its status."""
    assert running.rest("PUT", "/v1/layers/life", {"position": 1}).status == 201
    assert running.rest("PUT", "/v1/layers/life", {"position": 2}).status == 200
    assert running.rest("GET", "/v1/layers/life").body["position"] == 2
    assert running.rest("DELETE", "/v1/layers/life").status == 200
    assert running.rest("GET", "/v1/layers/life").status == 404


def test_methods(running: Controller) -> None:
    """Every method on every path under /v1 is answered by us, also those that nobody knows."""
    for method in ("PATCH", "TRACE", "BREW", "CONNECT"):
        answer = running.rest(method, "/v1/layers")
        assert (answer.status, answer.headers["Content-Type"]) == (405, "application/problem+json")
    assert running.rest("OPTIONS", "/v1").status == 204
    head, get = running.rest("HEAD", "/v1"), running.rest("GET", "/v1")
    assert (head.status, head.headers["Content-Length"]) == (200, get.headers["Content-Length"])


def test_paths(running: Controller) -> None:
    """A path that is not UTF-8 is 400, an unknown one 404, as problem bodies; beyond /v1 other apps answer."""
    assert running.rest("GET", "/v1/%ff").status == 400
    for path in ("/v1/", "/v1//", "/v1/%e2%82%ac", "/v1/a%2fb", "/v1/none?x=%ff"):
        answer = running.rest("GET", path)
        assert (answer.status, answer.body["status"]) == (404, 404)
    assert running.rest("GET", "/stats/switches").body == []


@pytest.mark.parametrize("slash", ["%2F", "%2f", "%252F"])
def test_an_encoded_slash_is_part_of_a_name(running: Controller, slash: str) -> None:
    """A slash that was encoded leads to no other resource: as a name it does not exist, and cannot be given."""
    assert running.rest("PUT", "/v1/layers/cut", {"position": 3}).status in (200, 201)
    assert running.rest("GET", f"/v1/layers{slash}cut").status == 404
    assert running.rest("GET", f"/v1/layers/cut{slash}groups").status == 404
    answer = running.rest("PUT", f"/v1/layers/a{slash}b", {"position": 3})
    assert (answer.status, [error["path"] for error in answer.body["errors"]]) == (422, ["id"])
    group = {"direction": "inbound", "priority": 1, "rules": []}
    assert running.rest("PUT", f"/v1/layers/cut{slash}groups{slash}g", group).status == 422
    assert running.rest("GET", "/v1/layers/cut/groups").body["items"] == []
    assert running.rest("GET", "/v1/l%61yers/cut").status == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ("Content-Length: -1\r\n", 400),
        ("Content-Length: +2\r\n", 400),
        ("Content-Length: two\r\n", 400),
        ("Content-Length: " + "9" * 50 + "\r\n", 400),
        ("Content-Length: 2\r\nContent-Length: 2\r\n", 400),
        ("Content-Length: 0\r\ncontent-length: 44\r\n", 400),
        ("Content-Length: 2, 2\r\n", 400),
        ("Content-Length: 1000000000000\r\n", 413),
        (f"Content-Length: {BODY_LIMIT_BYTES + 1}\r\nExpect: 100-continue\r\n", 413),
        ("Transfer-Encoding: chunked\r\n", 411),
        ("Transfer-Encoding: gzip, chunked\r\n", 411),
        ("Transfer-Encoding: chunked\r\nContent-Length: 2\r\n", 400),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_bad_lengths(running: Controller, method: str, headers: str, status: int) -> None:
    """A body whose length is missing, false or enormous is refused unread, and the connection closed."""
    with Connection(running) as connection:
        connection.send(f"{method} /v1/tenants/red", headers)
        assert connection.read_answer()[0] == status
        assert connection.is_closed()
    assert running.rest("GET", "/v1/tenants/red").status == 404


def test_too_large_is_heard_out(running: Controller) -> None:
    """A client that sends a little too much gets its 413 after it has sent everything."""
    with Connection(running) as connection:
        size = BODY_LIMIT_BYTES + (1 << 20)
        connection.send("PUT /v1/tenants/red", f"Content-Length: {size}\r\n", b" " * size)
        status, _, body = connection.read_answer()
    assert (status, json.loads(body)["title"]) == (413, "Too large")


def test_body_ends_early(running: Controller) -> None:
    """A body shorter than it said is refused."""
    with Connection(running) as connection:
        connection.send("PUT /v1/tenants/red", "Content-Length: 3\r\n", b"{}")
        connection.end_sending()
        assert connection.read_answer()[0] == 400
    assert running.rest("GET", "/v1/tenants/red").status == 404


def test_slow_client_keeps_nobody(running: Controller) -> None:
    """While one client sends its body bit by bit, others are answered."""
    with Connection(running) as slow:
        slow.send("PUT /v1/layers/slow", "Content-Length: 15\r\n", b'{"posi')
        assert running.rest("GET", "/v1").status == 200
        slow.send_bytes(b'tion": 1}')
        assert slow.read_answer()[0] == 201


@pytest.mark.parametrize("headers", ["Content-Length: 1000000000000\r\n", "Transfer-Encoding: chunked\r\n"])
def test_endless_body_keeps_nobody(running: Controller, headers: str) -> None:
    """While one client sends without end, as fast as it can, others are answered; then it is cut off."""
    cut = threading.Event()

    def flood() -> None:
        with Connection(running) as endless:
            endless.send("PUT /v1/tenants/red", headers)
            try:
                while True:
                    endless.send_bytes(b"f" * 65536)
            except OSError:
                cut.set()

    thread = threading.Thread(target=flood, daemon=True)
    thread.start()
    for _ in range(20):
        assert running.rest("GET", "/v1").status == 200
    assert cut.wait(TIMEOUT_S)


def test_connection_is_kept(running: Controller) -> None:
    """One connection carries many requests, refusals among them."""
    with Connection(running) as connection:
        for body, status in ((b"{", 400), (b'{"position": 1}', 201), (b'{"position": 1}', 200), (b"{}", 422)):
            connection.send("PUT /v1/layers/kept", f"Content-Length: {len(body)}\r\n", body)
            assert connection.read_answer()[0] == status


def test_writers_at_the_same_time(running: Controller) -> None:
    """Writers of one group and of segments do not undo each other."""
    running.rest("PUT", "/v1/layers/many", {"position": 9})
    running.rest("PUT", "/v1/layers/many/groups/g", {"direction": "inbound", "priority": 1, "rules": []})
    rule: dict[str, Any] = {"priority": 1, "match": {"ip_proto": "tcp"}, "action": {"type": "allow"}}

    def write(number: int) -> set[int]:
        return {
            running.rest("PUT", f"/v1/layers/many/groups/g/rules/r{number}", rule).status,
            running.rest("PUT", f"/v1/tenants/many{number}", {}).status,
        }

    with ThreadPoolExecutor(16) as pool:
        assert set().union(*pool.map(write, range(64))) == {201}
    assert len(running.rest("GET", "/v1/layers/many/groups/g").body["rules"]) == 64
    numbers = [item["number"] for item in running.rest("GET", "/v1/segments?limit=1000").body["items"]]
    assert len(numbers) == len(set(numbers)) >= 64


def test_without_the_switch_app(tmp_path: Path) -> None:
    """Launched alone, REST says what is missing."""
    with Controller(tmp_path, apps=("ryu_apps/rest_api.py",), ready_path="/elsewhere") as controller:
        answer = controller.rest("GET", "/v1")
    assert (answer.status, answer.body["title"]) == (503, "Not started")

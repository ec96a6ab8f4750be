"""The HTTP shell with a token file, and with what it must not start with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mininet_scripts.support.controller import Controller
from ryu_apps.model.rights import Rights
from ryu_apps.model.tokens import Token, token_hash
from tests.conftest import StartController
from tests.unit.api.test_rest_shell import Connection

ADMIN = {"Authorization": "Bearer root.secret"}


def _token_file(folder: Path, text: str = "") -> Path:
    path = folder / "tokens"
    path.touch(0o600)
    rights = Rights(owner="admin", may_write=True)
    path.write_text(text or Token(id="root", sha256=token_hash("root.secret"), rights=rights).line)
    return path


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    """Return a controller with one token in force, for all tests of this file."""
    folder = tmp_path_factory.mktemp("controller")
    with Controller(folder, env={"VFSWITCH_TOKENS": str(_token_file(folder))}) as controller:
        yield controller


def test_a_token_is_asked_for(guarded: Controller) -> None:
    """Over the wire: 401 with its challenge and a problem body, the document for everyone, and in with a token."""
    answer = guarded.rest("PUT", "/v1/layers/a", {"position": 1})
    assert (answer.status, answer.headers["Content-Type"]) == (401, "application/problem+json")
    headers = {name.lower(): value for name, value in answer.headers.items()}
    assert headers["www-authenticate"] == 'Bearer realm="vfswitch"'
    assert guarded.rest("GET", "/v1/hosts", headers={"Authorization": "Bearer root.wrong"}).status == 401
    assert "securitySchemes" in guarded.client.get("/v1/openapi.json")["components"]
    assert guarded.rest("PUT", "/v1/layers/a", {"position": 1}, ADMIN).status == 201
    assert "tokens in force: 1" in guarded.log() and "secret" not in guarded.log()


def test_who_is_refused_need_not_send_its_body(guarded: Controller) -> None:
    """The answer to a request without a token comes before its body does; when it is sent nonetheless, no harm."""
    body = json.dumps({"position": 7}).encode()
    request = ("PUT /v1/layers/kept", f"Content-Length: {len(body)}\r\n")
    with Connection(guarded) as connection:
        connection.send(*request, body[:5])
        assert connection.read_answer()[0] == 401
        connection.send_bytes(body[5:])
        connection.send(request[0], request[1] + "Authorization: Bearer root.secret\r\n", body)
        assert connection.read_answer()[0] == 201


@pytest.mark.parametrize(
    "headers",
    ["Content-Length: 1000000000000\r\n", "Transfer-Encoding: chunked\r\n",
     "Content-Length: 9\r\nExpect: 100-continue\r\n"],
    ids=["endless", "chunked", "expectant"],
)
def test_who_is_refused_and_may_go_on_for_long_is_cut_off(guarded: Controller, headers: str) -> None:
    """Without a token, a body that may be long or that waits to be asked for is not listened to."""
    with Connection(guarded) as connection:
        connection.send("PUT /v1/layers/long", headers)
        assert connection.read_answer()[0] == 401
        assert connection.is_closed()


def test_the_same_header_twice_lets_nobody_in(guarded: Controller) -> None:
    """Of two tokens in one request neither counts."""
    with Connection(guarded) as connection:
        connection.send("GET /v1/hosts", "Authorization: Bearer root.secret\r\n" * 2)
        assert connection.read_answer()[0] == 401


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "somewhere.example"])
def test_without_tokens_only_loopback(start_controller: StartController, host: str) -> None:
    """M27: without a token file an address that others reach is refused at the start, with what to do."""
    with pytest.raises(RuntimeError, match=r"(?s)ended with status 1.*token file.*wsapi_host is.*VFSWITCH_TOKENS"):
        start_controller(options=("--wsapi-host", host))


def test_localhost_by_name(start_controller: StartController) -> None:
    """Without a token file `localhost` is a loopback address, and everyone there has all rights."""
    controller = start_controller(options=("--wsapi-host", "localhost"))
    assert controller.rest("PUT", "/v1/tenants/red", {}).status == 201
    assert "no token is asked for" in controller.log() and "TLS" not in controller.log()


def test_with_tokens_any_address(start_controller: StartController, tmp_path: Path) -> None:
    """With a token file, named by the option before the environment, REST listens where it is told, and warns."""
    config = tmp_path / "ryu.conf"
    config.write_text(f"[DEFAULT]\nvfswitch_tokens = {_token_file(tmp_path)}\n")
    options = ("--config-file", str(config), "--wsapi-host", "0.0.0.0")
    controller = start_controller(options=options, env={"VFSWITCH_TOKENS": str(tmp_path / "none")})
    assert controller.rest("GET", "/v1/hosts").status == 401
    assert controller.rest("GET", "/v1/hosts", headers=ADMIN).status == 200
    assert "whoever reads along" in controller.log()


def test_start_up_says_what_is_wrong_with_the_file(start_controller: StartController, tmp_path: Path) -> None:
    """A file with a bad line, open to others, or missing stops the start; a token in it by mistake is not shown."""
    path = _token_file(tmp_path, "# tokens\nroot.c2VjcmV0\n")
    with pytest.raises(RuntimeError, match=r"(?s)ended with status 1.*line 2: must be") as refusal:
        start_controller(env={"VFSWITCH_TOKENS": str(path)})
    assert "c2VjcmV0" not in str(refusal.value) and "Traceback" not in str(refusal.value)
    path.chmod(0o644)
    with pytest.raises(RuntimeError, match="chmod 600"):
        start_controller(env={"VFSWITCH_TOKENS": str(path)})
    with pytest.raises(RuntimeError, match="No such file"):
        start_controller(env={"VFSWITCH_TOKENS": str(tmp_path / "none")})

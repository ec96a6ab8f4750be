"""A client of the REST application over a service in memory."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import pytest

from ryu_apps.api.application import Api
from ryu_apps.api.http import Request, Response
from ryu_apps.model.tokens import Tokens
from tests.unit.api.memory_service import MemoryService

JSON = {"content-type": "application/json"}


@dataclass
class Client:
    """Sends requests and keeps every exception that the application reported; tokens are those in force."""

    service: MemoryService = field(default_factory=MemoryService)
    tokens: Tokens | None = None
    reported: list[Exception] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.api = Api(self.service, self._report, nullcontext(), self.tokens)

    def _report(self, error: Exception) -> str:
        self.reported.append(error)
        return f"reference-{len(self.reported)}"

    def send(self, method: str, path: str, body: bytes = b"", **headers: str) -> Response:
        """Return the answer to a request as it stands; header names have _ for -."""
        bare, _, query = path.partition("?")
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = Request(method=method, path=bare, query=query, headers={**JSON, **named}, body=lambda: body)
        return self.api.handle(request)

    def ask(self, method: str, path: str, value: Any = None, **headers: str) -> tuple[int, Any]:
        """Return status and JSON of the answer to a request with a JSON body."""
        body = b"" if value is None else json.dumps(value).encode()
        response = self.send(method, path, body, **headers)
        return response.status, json.loads(response.body)

    def get(self, path: str) -> Any:
        """Return what is at a path; it must be there."""
        status, value = self.ask("GET", path)
        assert status == 200, value
        return value

    def put(self, path: str, value: Any, status: int = 201) -> Any:
        """Return the answer to a PUT of the expected status."""
        got, answer = self.ask("PUT", path, value)
        assert got == status, answer
        return answer

    def faults(self, method: str, path: str, value: Any, status: int = 422) -> set[str]:
        """Return the paths of the faults of a refused request; nothing may have changed."""
        before = self.service.policy
        got, answer = self.ask(method, path, value)
        assert got == status, answer
        assert self.service.policy is before
        return {fault["path"] for fault in answer["errors"]}


VPORT = {"host": "h1", "port": "h1-vf1", "tenant": "red", "mac": "02:00:00:00:00:01", "ips": ["10.0.0.1"], "vlan": 101}
RULE = {"priority": 100, "match": {"ip_proto": "tcp", "l4_dst": "80"}, "action": {"type": "allow"}}


@pytest.fixture
def client() -> Client:
    """Return a client of an empty policy."""
    return Client()


@pytest.fixture
def network(client: Client) -> Client:
    """Return a client of a policy with one of everything."""
    client.put("/v1/hosts/h1", {"dpid": "1", "uplink": "h1-uplink"})
    client.put("/v1/tenants/red", {})
    client.put("/v1/segments/lab", {"tenant": "red", "vlan": 200})
    client.put("/v1/vports/vm1", VPORT)
    client.put("/v1/vports/vm2", {**VPORT, "port": "h1-vf2", "mac": "02:00:00:00:00:02", "vlan": 102, "kind": "trunk",
                                  "trunk": [200]})
    client.put("/v1/routes/gw", {"segment": "red", "eth_dst": "02:00:00:00:00:99", "to": "uplink"})
    client.put("/v1/layers/fw", {"position": 20, "stateful": True, "default": {"inbound": "deny"}})
    client.put("/v1/layers/fw/groups/web", {"direction": "inbound", "priority": 1, "rules": [{"id": "http", **RULE}]})
    return client

"""REST calls to the controller, with nothing but the standard library."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

DEFAULT_TIMEOUT_S = 15.0


class RestAnswer(NamedTuple):
    """What the controller answered; `body` is decoded JSON, or text where it was not JSON."""

    status: int
    headers: Mapping[str, str]
    body: Any


class RestError(Exception):
    """An answer outside the 200s where only success was expected."""

    def __init__(self, method: str, path: str, answer: RestAnswer) -> None:
        super().__init__(f"{method} {path} → {answer.status} {answer.body}")
        self.answer = answer


@dataclass(frozen=True)
class RestClient:
    """Calls to one controller, with a bearer token unless it is empty."""

    base_url: str
    timeout_s: float = DEFAULT_TIMEOUT_S
    token: str = ""

    def call(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> RestAnswer:
        """Return the answer, whatever its status; bytes are sent as they are, all else as JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        sent = {**({"Authorization": f"Bearer {self.token}"} if self.token else {}), **(headers or {})}
        if data is not None and not any(name.lower() == "content-type" for name in sent):
            sent["Content-Type"] = "application/json"
        request = urllib.request.Request(self.base_url + path, data=data, headers=sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=self.timeout_s) as response:
                return RestAnswer(response.status, dict(response.headers), _decode(response.read()))
        except urllib.error.HTTPError as error:
            with error:
                return RestAnswer(error.code, dict(error.headers), _decode(error.read()))

    def get(self, path: str) -> Any:
        """Return the body of a successful GET."""
        return self._succeed("GET", path)

    def put(self, path: str, body: object) -> Any:
        """Return the body of a successful PUT."""
        return self._succeed("PUT", path, body)

    def post(self, path: str, body: object) -> Any:
        """Return the body of a successful POST."""
        return self._succeed("POST", path, body)

    def delete(self, path: str) -> Any:
        """Return the body of a successful DELETE."""
        return self._succeed("DELETE", path)

    def _succeed(self, method: str, path: str, body: object = None) -> Any:
        answer = self.call(method, path, body)
        if not 200 <= answer.status < 300:
            raise RestError(method, path, answer)
        return answer.body


def _decode(data: bytes) -> Any:
    if not data:
        return None
    try:
        return json.loads(data)
    except ValueError:
        return data.decode(errors="replace")

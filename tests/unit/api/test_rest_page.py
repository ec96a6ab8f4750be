"""docs/rest.md: every command on it works in the order given, and its tables name what there is."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ryu_apps.api.problems import HttpError
from ryu_apps.api.routes import ROUTES
from ryu_apps.model.errors import VfswitchError
from ryu_apps.model.fields import FIELDS
from tests.unit.api.conftest import Client

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "rest.md").read_text()


class Command(NamedTuple):
    """One curl command and the answer that the page shows, empty when it shows none."""

    method: str
    path: str
    headers: dict[str, str]
    body: str
    shown: str


def commands(page: str) -> Iterator[Command]:
    """Yield the commands of a page in their order."""
    lines = page.splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if not line.startswith("$ curl "):
            continue
        words = iter(shlex.split(line[2:])[1:])
        method, path, headers, body = "GET", "", {}, ""
        for word in words:
            if word == "-X":
                method = next(words)
            elif word == "-H":
                name, _, value = next(words).partition(": ")
                headers[name.lower().replace("-", "_")] = value
            elif word == "-d":
                body = next(words)
            else:
                path = word.removeprefix("localhost:8080")
        yield Command(method, path, headers, body, following if following.startswith("{") else "")


def test_commands(client: Client) -> None:
    """Every command succeeds, those under Refusals are refused, and an answer that is shown is the one that comes."""
    ordinary, refused = PAGE.split("## Refusals")
    assert len(list(commands(PAGE))) >= 20
    for part, good in ((ordinary, True), (refused, False)):
        for command in commands(part):
            response = client.send(command.method, command.path, command.body.encode(), **command.headers)
            assert (response.status < 300) is good, (command, response.body)
            if command.shown:
                assert json.loads(response.body) == json.loads(command.shown)


def test_fields_are_listed() -> None:
    """The table of match fields names each field once."""
    table = PAGE[PAGE.index("| fields |") : PAGE.index("| action |")]
    named = [name for row in table.splitlines()[2:] if row for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(named) == sorted(FIELDS)


def _slugs(error: type[VfswitchError]) -> Iterator[tuple[int, str]]:
    for kind in error.__subclasses__():
        if kind is not HttpError:
            yield kind.status, kind.slug
        yield from _slugs(kind)


def test_refusals_are_listed() -> None:
    """The table of refusals has every kind of error in the row of its status."""
    table = PAGE[PAGE.index("| status | `type`") :]
    for status, slug in _slugs(VfswitchError):
        row = next(row for row in table.splitlines() if str(status) in row.split("|")[1:2][0])
        assert f"`{slug}`" in row


def test_paths_are_listed() -> None:
    """The page names every resource's path."""
    for route in ROUTES:
        assert route.template in PAGE or f"{route.template}/{{" in PAGE

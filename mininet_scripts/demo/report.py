"""Progress while a scenario runs, and afterwards a table in which every line says whether it held."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import NamedTuple


class Line(NamedTuple):
    """One line of the table: what was looked at, what was seen, and whether that is as it must be."""

    what: str
    seen: str
    held: bool


class Report:
    """Prints progress at once and keeps the lines for the end."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._lines: list[Line] = []
        self._details: list[tuple[str, tuple[str, ...]]] = []

    def say(self, text: str) -> None:
        """Print what is being done, with the seconds since the start."""
        print(f"{time.monotonic() - self._began_s:5.1f} s  {text}", flush=True)

    def check(self, what: str, seen: str, held: bool) -> None:
        """Keep one line, and print it."""
        self._lines.append(Line(what, seen, held))
        self.say(f"  {'ok    ' if held else 'FAILED'}  {what}: {seen}")

    def detail(self, title: str, lines: Iterable[str]) -> None:
        """Keep a paragraph to print below the table."""
        self._details.append((title, tuple(lines)))

    @property
    def failed(self) -> list[Line]:
        """Return the lines that did not hold."""
        return [line for line in self._lines if not line.held]

    def print_table(self) -> None:
        """Print all lines in columns, the paragraphs, and what did not hold."""
        what = max((len(line.what) for line in self._lines), default=0)
        seen = max((len(line.seen) for line in self._lines), default=0)
        print(f"\n{'What was looked at':{what}}  {'What was seen':{seen}}  Held")
        print(f"{'-' * what}  {'-' * seen}  ----")
        for line in self._lines:
            print(f"{line.what:{what}}  {line.seen:{seen}}  {'yes' if line.held else 'NO'}")
        for title, lines in self._details:
            print(f"\n{title}")
            for text in lines:
                print(f"  {text}")
        print()
        if self.failed:
            print(f"{len(self.failed)} of {len(self._lines)} did not hold:")
            for line in self.failed:
                print(f"  {line.what}: {line.seen}")
        else:
            print(f"All {len(self._lines)} held.")

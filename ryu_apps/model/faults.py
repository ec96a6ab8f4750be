"""Collecting every fault of a request before refusing it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from ryu_apps.model.errors import FieldError, Invalid, VfswitchError

T = TypeVar("T")
V = TypeVar("V")


class Faults:
    """The faults found so far; one refusal then names them all."""

    def __init__(self) -> None:
        self._found: list[FieldError] = []

    def add(self, path: str, message: str) -> None:
        """Remember one fault."""
        self._found.append(FieldError(path, message))

    def attempt(self, path: str, parse: Callable[[V], T], value: V) -> T | None:
        """Return the parsed value; None, with the fault remembered, when parse raises ValueError or names faults."""
        try:
            return parse(value)
        except VfswitchError as error:
            self.extend(error.errors)
        except ValueError as error:
            self.add(path, str(error))
        return None

    def extend(self, faults: Iterable[FieldError]) -> None:
        """Remember several faults."""
        self._found.extend(faults)

    def refusal(self, message: str) -> Invalid:
        """Return the refusal that names all faults."""
        return Invalid(message, self._found)

    def refuse(self, message: str) -> None:
        """Raise the refusal when there is a fault."""
        if self._found:
            raise self.refusal(message)

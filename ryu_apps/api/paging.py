"""Long lists in pages."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode


def page_of(ids: Iterable[str], after: str, limit: int) -> tuple[list[str], bool]:
    """Return the first `limit` ids that come after `after` in order, and whether there are more."""
    ordered = sorted(ids)
    start = bisect_right(ordered, after)
    return ordered[start : start + limit], len(ordered) > start + limit


def page_body(path: str, items: list[Any], more: bool, query: Mapping[str, Any]) -> dict[str, Any]:
    """Return a page with the address of the next one, which is null on the last page."""
    link = None
    if more:
        given = {name: value for name, value in query.items() if value is not None}
        link = f"{path}?{urlencode({**given, 'after': items[-1]['id']})}"
    return {"items": items, "next": link}

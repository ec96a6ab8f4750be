"""Where each flow stands: its slot by its id, in pages."""

from __future__ import annotations

from array import array
from typing import Final

# Ids rise, so that pages fill one after the other and are dropped again; a flow that outlives its neighbours keeps
# a page. One dictionary would be a pause of 25 ms when it grows beyond a few hundred thousand flows.
_PAGE_IDS: Final = 256
_NONE: Final = -1
_USED: Final = _PAGE_IDS
_EMPTY: Final = [_NONE] * _PAGE_IDS + [0]


class Slots:
    """Slots by flow id, four bytes each; the last number of a page says how many of its ids are in use."""

    def __init__(self) -> None:
        self._pages: dict[int, array[int]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def get(self, flow_id: int) -> int | None:
        """Return the slot of an id, None when it has none."""
        page = self._pages.get(flow_id // _PAGE_IDS)
        slot = _NONE if page is None else page[flow_id % _PAGE_IDS]
        return None if slot == _NONE else slot

    def put(self, flow_id: int, slot: int) -> bool:
        """Give an id a slot; False when it has one already, which stays."""
        page = self._pages.get(flow_id // _PAGE_IDS)
        if page is None:
            page = self._pages[flow_id // _PAGE_IDS] = array("i", _EMPTY)
        if page[flow_id % _PAGE_IDS] != _NONE:
            return False
        page[flow_id % _PAGE_IDS] = slot
        page[_USED] += 1
        self._count += 1
        return True

    def pop(self, flow_id: int) -> int:
        """Return the slot of an id and take it from it; KeyError when it has none."""
        slot = self.get(flow_id)
        if slot is None:
            raise KeyError(flow_id)
        page = self._pages[flow_id // _PAGE_IDS]
        page[flow_id % _PAGE_IDS] = _NONE
        page[_USED] -= 1
        self._count -= 1
        if not page[_USED]:
            del self._pages[flow_id // _PAGE_IDS]
        return slot

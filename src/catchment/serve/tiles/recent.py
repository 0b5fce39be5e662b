"""What was told of tiles a moment ago: who looks at the same moment is told the same, and it is made once."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from catchment.serve.dashboards.board import Board, Fence
from catchment.serve.tiles.palette import Palette
from catchment.serve.tiles.payloads import Told, tell
from catchment.serve.tiles.view import View

FOR_S = 1.0
"""Answers are as old as their board's refresh; what is made of them may be as old as that."""
MOST = 200
STATES = frozenset({"ok", "empty"})
"""What goes wrong is looked at each time."""

_Key = tuple[int, str, str, str, bool]


@dataclass(frozen=True, slots=True)
class _Kept:
    board: Board  # as long as it is kept no other can have its id
    told: Told
    at_s: float


class Recent:
    """Tells of tiles, as `payloads.tell` does."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()

    async def tell(self, view: View, fence: Fence, palette: Palette) -> Told:
        """What is told of a tile; what comes from a moment ago names neither its question nor its answer."""
        email = view.viewer.email if view.board.names_user else ""
        key = (id(view.board), fence.id, view.chosen.address(), email, view.viewer.may_write)
        kept = self._kept.get(key)
        if kept is not None and self._clock_s() - kept.at_s < FOR_S:
            return kept.told
        told = await tell(view, fence, palette)
        self._forget()
        if told.payload["state"] in STATES and told.answer is not None and told.answer.trouble is None:
            kept_told = Told(told.payload, remembered_s=told.true_at_s)
            self._kept.pop(key, None)
            self._kept[key] = _Kept(view.board, kept_told, self._clock_s())
        return told

    def _forget(self) -> None:
        """What is too old, and what is too much. The oldest come first."""
        now_s = self._clock_s()
        while self._kept and (len(self._kept) >= MOST or now_s - next(iter(self._kept.values())).at_s >= FOR_S):
            self._kept.popitem(last=False)

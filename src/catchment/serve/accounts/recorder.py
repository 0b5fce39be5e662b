"""The audit's writer: queries' rows are gathered and written together, beside the answers, which wait for nothing; and
views of dashboards are counted with them."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Literal

from catchment.errors import CatchmentError
from catchment.log import get_log
from catchment.record import now as utc_now
from catchment.serve.accounts.user import Client, User
from catchment.serve.config import ServeConfig
from catchment.state import State
from catchment.state.audit import Audit, Entry, Outcome
from catchment.state.views import Views

UploadAction = Literal["begin upload", "upload"]
_log = get_log("serve")
_GATHER_S = 0.25
_FORGET_EVERY_S = 3_600.0
MAX_WAITING = 20_000
"""While the state cannot be written, say on a full disk; then the oldest go, which is said."""
_AT_ONCE = 500


class Recorder:
    """Notes what is asked of the warehouse, and which dashboards are looked at. `run` belongs in a thread of its own,
    until `close`.

    Half a second of rows is lost where the process is killed; those of sign-ins and of changes of accounts never are,
    since they are written together with what they tell of.
    """

    def __init__(self, state: State, config: ServeConfig, clock: Callable[[], datetime] = utc_now) -> None:
        self._state = state
        self._config = config
        self._clock = clock
        self._waiting: deque[Entry] = deque()
        self._viewed: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._lost = 0
        self._is_failing = False

    def query(
        self,
        user: User,
        client: Client,
        sql: str,
        *,
        began_at: datetime,
        ms: int,
        outcome: Outcome,
        rows: int | None = None,
        tables: tuple[str, ...] | None = None,
        about: str = "",
    ) -> None:
        """Note a query that has ended. `about` says where it belongs, such as `dashboard chat-queue`, and what went
        wrong. May be called from any thread, and does not block."""
        via = "session" if user.token is None else f"token {user.token}"
        entry = Entry(
            began_at, "query", outcome, user.id, user.email, via, client.address, about, sql, tables, ms, rows
        )
        with self._lock:
            self._waiting.append(entry)
            if len(self._waiting) > MAX_WAITING:
                self._waiting.popleft()
                self._lost += 1

    def view(self, dashboard: str) -> None:
        """Count a view. May be called from any thread, and does not block."""
        with self._lock:
            self._viewed[dashboard] += 1

    def upload(
        self, action: UploadAction, user: User, client: Client, about: str, outcome: Outcome, rows: int | None = None
    ) -> None:
        """Note what somebody uploads, written when this returns: before the first row is queued, and in the end."""
        via = "session" if user.token is None else f"token {user.token}"
        self._add([Entry(self._clock(), action, outcome, user.id, user.email, via, client.address, about, rows=rows)])

    def run(self) -> None:
        """Write what is noted, and forget what is old, until `close`; then write the rest."""
        forgot_s = -_FORGET_EVERY_S
        while not self._closed.wait(_GATHER_S):
            self._write()
            if time.monotonic() - forgot_s >= _FORGET_EVERY_S:
                forgot_s = time.monotonic()
                self._try(self._forget)
        self._write()

    def close(self) -> None:
        """Let `run` return once all is written, or cannot be."""
        self._closed.set()

    def _write(self) -> None:
        self._write_views()
        while True:
            with self._lock:
                some = [self._waiting.popleft() for _ in range(min(_AT_ONCE, len(self._waiting)))]
            if not some:
                return
            if not self._try(partial(self._add, some)):
                with self._lock:
                    self._waiting.extendleft(reversed(some))
                return

    def _write_views(self) -> None:
        with self._lock:
            viewed, self._viewed = self._viewed, Counter()
        if viewed and not self._try(partial(self._add_views, viewed)):
            with self._lock:
                self._viewed += viewed

    def _add_views(self, viewed: Counter[str]) -> None:
        with self._state.writing() as transaction:
            Views(transaction).add(viewed, self._clock().date())

    def _add(self, entries: list[Entry]) -> None:
        with self._state.writing() as transaction:
            Audit(transaction).add(*entries)

    def _forget(self) -> None:
        before = self._clock() - self._config.audit_keep
        while self._forget_some(before) and not self._closed.is_set():
            pass

    def _forget_some(self, before: datetime) -> bool:
        with self._state.writing() as transaction:
            audit = Audit(transaction)
            return bool(audit.forget_before(before) or audit.forget_beyond(self._config.audit_max_rows))

    def _try(self, write: Callable[[], None]) -> bool:
        try:
            write()
        except CatchmentError as error:
            if not self._is_failing:
                _log.error("the audit cannot be written; its rows wait", exc=error)
            self._is_failing = True
            return False
        if self._is_failing:
            self._is_failing = False
            with self._lock:
                lost, self._lost = self._lost, 0
            _log.error("the audit is written again", rows_lost=lost)
        return True

"""Who did what, when, from where: a row per query, sign-in and change of accounts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import msgspec

from catchment.state import Row, Transaction
from catchment.state.moments import moment, stamp
from catchment.state.users import Account

Outcome = Literal["done", "failed", "cancelled", "refused"]
MAX_SQL_CHARACTERS = 20_000
MAX_ABOUT_CHARACTERS = 1_000
_FORGET_AT_ONCE = 5_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing done. `who` is the email at that time; `via` is `session`, `token ID` or `command`. Of a query
    `about` says where it belongs, such as the dashboard; `ms` is what it took and `rows` what it brought."""

    at: datetime
    action: str
    outcome: str
    user_id: str | None
    who: str
    via: str
    address: str
    about: str = ""
    sql: str | None = None
    tables: tuple[str, ...] | None = None
    ms: int | None = None
    rows: int | None = None

    @classmethod
    def of(
        cls,
        action: str,
        account: Account | None,
        at: datetime,
        address: str,
        *,
        via: str,
        outcome: Outcome = "done",
        about: str = "",
    ) -> Entry:
        """Of a sign-in, or a change of accounts by a user."""
        user_id, who = (account.id, account.email) if account is not None else (None, "")
        return cls(at, action, outcome, user_id, who, via, address, about)


class Audit:
    """The table of what was done."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def add(self, *entries: Entry) -> None:
        """Note them."""
        for entry in entries:
            self._transaction.run(
                "INSERT INTO audit (id, at, action, outcome, user_id, who, via, address, about, sql, tables_json, ms,"
                " rows_count) VALUES ((SELECT coalesce(max(id), 0) + 1 FROM audit),"
                " ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    stamp(entry.at),
                    entry.action,
                    entry.outcome,
                    entry.user_id,
                    entry.who,
                    entry.via,
                    entry.address,
                    entry.about[:MAX_ABOUT_CHARACTERS],
                    None if entry.sql is None else _cut(entry.sql),
                    None if entry.tables is None else msgspec.json.encode(entry.tables).decode(),
                    entry.ms,
                    entry.rows,
                ),
            )

    def latest(
        self,
        limit: int,
        *,
        who: str | None = None,
        actions: Sequence[str] = (),
        since: datetime | None = None,
        before: datetime | None = None,
    ) -> list[Entry]:
        """The last ones, the newest first."""
        conditions, values = ["1 = 1"], []
        if who is not None:
            conditions.append("who = ?")
            values.append(who)
        if actions:
            conditions.append(f"action IN ({', '.join('?' * len(actions))})")
            values.extend(actions)
        times = [(">=", since), ("<", before)]
        bounds = [(sign, stamp(at)) for sign, at in times if at is not None]
        rows = self._transaction.rows(
            "SELECT at, action, outcome, user_id, who, via, address, about, sql, tables_json, ms, rows_count"
            f" FROM audit WHERE {' AND '.join([*conditions, *(f'at {sign} ?' for sign, _ in bounds)])}"
            " ORDER BY at DESC, id DESC LIMIT ?",
            (*values, *(at for _, at in bounds), limit),
        )
        return list(map(_entry, rows))

    def forget_before(self, at: datetime) -> int:
        """Remove some of what is older, until nothing is: how many went. A few thousand at a time, so that nobody
        waits long for the next write."""
        return self._transaction.run(
            "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < ? ORDER BY at LIMIT ?)",
            (stamp(at), _FORGET_AT_ONCE),
        )

    def forget_beyond(self, rows: int) -> int:
        """The same of all but the last `rows`."""
        last = self._transaction.rows("SELECT at FROM audit ORDER BY at DESC, id DESC LIMIT 1 OFFSET ?", (rows,))
        return self.forget_before(moment(last[0][0] + 1)) if last else 0


def _entry(row: Row) -> Entry:
    at, action, outcome, user_id, who, via, address, about, sql, tables, ms, rows = row
    read = None if tables is None else tuple(msgspec.json.decode(tables, type=list[str]))
    return Entry(moment(at), action, outcome, user_id, who, via, address, about, sql, read, ms, rows)


def _cut(sql: str) -> str:
    return sql if len(sql) <= MAX_SQL_CHARACTERS else sql[:MAX_SQL_CHARACTERS] + "…"

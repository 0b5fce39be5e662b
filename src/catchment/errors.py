"""Errors, grouped by what to do about them.

CatchmentError            what went wrong, where, and how to fix it
├── Retry                 the same call may succeed later: nothing was lost, nothing was half done
│   ├── QueueFull             the embedded queue has reached its size limit
│   ├── WarehouseDown         the warehouse cannot be reached or opened
│   │   └── WarehouseGone         its process went in the middle of the call
│   ├── SchemaChanged         a table's columns moved on since the batch was guarded
│   └── CannotWiden           a column holds values that its wider type would change: plan without it
├── Skip                  this one record, message or file is bad: keep it as a dead letter and go on
│   └── Malformed             bytes that are no record; carries the reason
└── Abort                 stop and tell the user
    ├── UsageError            wrong command line or configuration (exit code 2)
    └── StorageError          a disk, folder or file of ours cannot be used
        └── NoSpace               it is full: the same works once there is space again
"""


class CatchmentError(Exception):
    """What went wrong and where; `hint` says how to fix it. Both are shown to users, so neither holds a secret."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  Try: {self.hint}" if self.hint else self.message


class Retry(CatchmentError):
    """Nothing was lost or half done; the same call may succeed later."""


class QueueFull(Retry):
    """The queue holds as much as it may; the publisher must wait."""


class WarehouseDown(Retry):
    """The warehouse cannot be reached or opened at the moment."""


class WarehouseGone(WarehouseDown):
    """The warehouse was there when the call began, and went in the middle of it, as when its process is restarted."""


class SchemaChanged(Retry):
    """A table's columns changed since the guard looked at the batch: guard it again."""

    def __init__(self, table: str) -> None:
        super().__init__(f"the columns of {table} have changed meanwhile")
        self.table = table


class CannotWiden(Retry):
    """A column holds integers beyond 2^53, which DOUBLE would round: guard again, and rescue instead."""

    def __init__(self, table: str, column: str) -> None:
        super().__init__(f"{table}.{column} holds integers beyond 2^53")
        self.table = table
        self.column = column


class Skip(CatchmentError):
    """One item is bad and its neighbours are not: keep it as a dead letter."""


class Malformed(Skip):
    """Bytes that are no record. `reason` is one of the words listed in `catchment.record.REASONS`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class Abort(CatchmentError):
    """Going on would make it worse: stop, and tell the user."""


class UsageError(Abort):
    """The command line or the project's files are wrong."""


class StorageError(Abort):
    """A disk, folder or file of Catchment's cannot be used."""


class NoSpace(StorageError):
    """A disk is full. Nothing was half done; the same works once there is space again."""

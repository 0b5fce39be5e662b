"""The embedded queue keeps what every queue promises."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from catchment.queues.sqlite import Config, SqliteQueue
from catchment.testing.queues import Factory, QueueConformance


class TestSqliteQueue(QueueConformance):
    @pytest.fixture
    def factory(self, tmp_path: Path) -> Factory:
        return partial(SqliteQueue, Config(), tmp_path)


class TestSqliteQueueOfSmallFiles(QueueConformance):
    """The same while publishers rotate all the time."""

    @pytest.fixture
    def factory(self, tmp_path: Path) -> Factory:
        # Below the bound that a project file may set.
        return partial(SqliteQueue, Config(rotate_bytes=100), tmp_path)

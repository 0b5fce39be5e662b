"""Waiting for a load, while the warehouse's process is restarted."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from catchment.cli import parts
from catchment.config import load_project
from catchment.errors import WarehouseDown
from catchment.load.files import new_incoming
from catchment.pack import build
from catchment.record import Record, Stamp


class GoneMeanwhile:
    """Was found, and is killed before it answers."""

    def ledger(self, names: Sequence[str]) -> Mapping[str, frozenset[str]]:
        raise WarehouseDown("the warehouse process is not running")

    def close(self) -> None:
        pass


def test_a_process_that_dies_as_it_is_asked_has_not_loaded_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "catchment.toml").write_text("")
    project = load_project(tmp_path)
    line = Stamp(datetime.now(UTC), "test").line(Record("shop.orders", msgspec.Raw(b"{}")))
    project.archive.open().put(new_incoming(datetime.now(UTC), 1).name, [build("shop.orders", [line])])
    monkeypatch.setattr(parts, "_loading_warehouse", lambda project: GoneMeanwhile())
    assert not parts.is_all_loaded(project)
    assert not parts.is_loaded(project, "shop.orders", time.monotonic())

"""The closed set of metrics."""

from __future__ import annotations

import re
import subprocess
import sys
import threading

import pytest

from catchment import metrics


def value(name: str) -> float | None:
    found = re.search(rf"^{re.escape(name)} (\S+)$", metrics.exposition().decode(), re.MULTILINE)
    return float(found[1]) if found else None


def test_every_metric_has_a_good_name_and_help() -> None:
    for name, spec in metrics.METRICS.items():
        assert re.fullmatch(r"catchment_[a-z_]+", name)
        assert (spec.kind == "counter") == name.endswith("_total")
        assert spec.help[0].isupper()
        assert not spec.help.endswith(".")
        if spec.unit in ("bytes", "seconds"):
            assert f"_{spec.unit}" in name


def test_values_are_exposed() -> None:
    rounds, loads = value("catchment_rounds_total") or 0, value("catchment_load_seconds_count") or 0
    metrics.rounds.add()
    metrics.rounds.add(2)
    metrics.queue_messages.set(7)
    metrics.queue_bytes.set(None)
    with metrics.load_seconds.time():
        pass
    assert value("catchment_rounds_total") == rounds + 3
    assert value("catchment_queue_messages") == 7
    assert str(value("catchment_queue_bytes")) == "nan"
    assert value("catchment_load_seconds_count") == loads + 1


def test_tables_beyond_the_cap_share_a_label(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_tables", set())
    others = value('catchment_records_loaded_total{table="(other)"}') or 0
    for number in range(metrics.MAX_TABLES + 50):
        metrics.records_loaded.add(2, table=f"cap.t{number}")
    assert value('catchment_records_loaded_total{table="cap.t0"}') == 2
    assert value(f'catchment_records_loaded_total{{table="cap.t{metrics.MAX_TABLES}"}}') is None
    assert value('catchment_records_loaded_total{table="(other)"}') == others + 100


def test_first_values_from_many_threads_are_all_counted() -> None:
    counter = metrics.Counter("test_together", "records", "Counted together")
    start = threading.Barrier(8)

    def count() -> None:
        start.wait()
        counter.add()

    try:
        threads = [threading.Thread(target=count) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert value("catchment_test_together_total") == 8
    finally:
        del metrics.METRICS[counter.spec.name]


def test_a_name_is_given_once() -> None:
    with pytest.raises(AssertionError):
        metrics.Gauge("queue_messages", "messages", "Again")


def test_importing_costs_next_to_nothing() -> None:
    code = "import sys, catchment.metrics; print('prometheus_client' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "False\n"

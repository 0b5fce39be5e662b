"""The ceiling on a little data, standing rows, counting fsyncs, and the locked requirements of peers."""

import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from bench import clicks, disk, environments, records
from bench.measure import ROOT, measured

from tests.missing import without


def test_the_ceiling_loads_everything(tmp_path: Path) -> None:
    records.dataset(2_000)
    found = measured([sys.executable, "-m", "bench.peers.ceiling", tmp_path, "2000"])
    assert found.rows == 2_000
    with duckdb.connect(str(tmp_path / "ceiling.duckdb"), read_only=True) as warehouse:
        filled = warehouse.execute(
            "select count(*), count(distinct _id), count(ts), count(props->>'os'), min(_received_at) "
            "from events.page_view"
        ).fetchone()
    assert filled is not None
    count, ids, times, systems, first = filled
    assert count == ids == times == systems > 0
    assert (first.astimezone(records.START.tzinfo) - records.START).total_seconds() < 1


def test_standing_rows_are_a_day_in_order_of_time(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    with duckdb.connect(str(path)) as warehouse:
        warehouse.execute("create schema bench")
        warehouse.execute(
            f"create table {clicks.TABLE} (_id varchar not null, _received_at timestamptz not null, "
            "_source varchar not null, _batch varchar, _loaded_at timestamptz, _rescued json, "
            "seq bigint, kind varchar, url varchar, sent_at timestamptz)"
        )
    clicks.insert_standing(path, 1_000)
    with duckdb.connect(str(path)) as warehouse:
        found = warehouse.execute(
            "select count(distinct _id), max(_received_at) - min(_received_at), max(seq), "
            f"list(_received_at) = list_sort(list(_received_at)), max(_received_at) < now() from {clicks.TABLE}"
        ).fetchone()
    assert found is not None
    ids, span, seq, ordered, past = found
    assert (ids, seq, ordered, past) == (1_000, 0, True, True)
    assert 23.9 < span.total_seconds() / 3_600 < 24.1


def test_fsyncs_of_a_running_process_are_counted(tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        without("strace is not installed (tests/system_packages.sh brings it)")
    program = (
        "import os, sys, time\n"
        f"file = os.open({str(tmp_path / 'file')!r}, os.O_WRONLY | os.O_CREAT)\n"
        "print(1, flush=True)\n"
        "while os.getppid() > 1:\n"
        "    os.write(file, b'x'); os.fsync(file); os.fdatasync(file); time.sleep(0.02)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as syncing:
        assert syncing.stdout is not None
        syncing.stdout.readline()
        counted = disk.count_fsyncs(syncing.pid, 0.4)
        written = disk.written_bytes(syncing.pid)
        syncing.kill()
    assert counted is not None
    assert 5 < counted <= 200
    assert written > 0


def test_strace_that_may_not_attach_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="not permitted"):
        disk.calls("", "strace: attach: ptrace(PTRACE_SEIZE, 1): Operation not permitted")


def test_no_fsync_at_all_is_zero() -> None:
    assert disk.calls("", "strace: Process 7 attached\nstrace: Process 7 detached") == 0


def test_peers_are_locked_with_hashes_and_no_addresses() -> None:
    for requirements in sorted((ROOT / "bench" / "peers").glob("*.txt")):
        text = requirements.read_text()
        assert text.count("==") <= text.count("--hash=")
        assert "://" not in text


def test_a_peer_that_is_there_is_reused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(environments, "_FOLDER", tmp_path)

    def run(command: list[str]) -> None:
        ran.append(command)
        (tmp_path / "dlt" / "bin").mkdir(parents=True, exist_ok=True)

    monkeypatch.setattr(environments, "_run", run)
    first = environments.python("dlt")
    assert len(ran) == 2
    assert environments.python("dlt") == first == tmp_path / "dlt" / "bin" / "python"
    assert len(ran) == 2
    (tmp_path / "dlt" / "installed.txt").write_text("dlt==0.1")
    environments.python("dlt")
    assert len(ran) == 4


def test_an_environment_that_cannot_be_made_says_why() -> None:
    with pytest.raises(RuntimeError, match=r"failed:\n(.|\n)*No module named nothing_like_it"):
        environments._run([sys.executable, "-m", "nothing_like_it"])

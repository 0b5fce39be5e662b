from __future__ import annotations

import json
import os
import shutil
import time
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from catchment.archives import Entry
from catchment.cli import checks
from catchment.cli.exits import ExitCode
from catchment.errors import StorageError
from catchment.finding import Finding
from catchment.queues import QueueStats
from catchment.secret import remember
from tests.cli.conftest import Ended
from tests.small_adapters import SmallQueue, SmallStore

Catchment = Callable[..., Ended]

Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adapters that answer, on a machine with room."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, 10**12))
    monkeypatch.setattr(SmallQueue, "stats", lambda _: QueueStats(messages=3), raising=False)
    monkeypatch.setattr(SmallStore, "list", lambda _, prefix: iter(()), raising=False)


def found(ended: Ended) -> dict[str, dict[str, object]]:
    return {finding["subject"]: finding for finding in json.loads(ended.out)["findings"]}


def test_all_is_well(catchment: Catchment, project: Path) -> None:
    ended = catchment("doctor", "-p", project)
    assert (ended.code, ended.err) == (ExitCode.DONE, "")
    assert "NOT" not in ended.out
    assert "ok   queue      sqlite: 3 messages wait" in ended.out
    assert not (project / ".catchment").exists()


def test_for_a_program(catchment: Catchment, project: Path) -> None:
    ended = catchment("doctor", "-p", project, "--json")
    assert json.loads(ended.out)["ok"] is True
    assert found(ended).keys() == {"versions", "clock", "folder", "disk", "queue", "archive", "warehouse", "state"}


def test_a_part_that_cannot_be_reached(catchment: Catchment, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remember("hunter2hunter2")

    def broken(_: SmallQueue) -> QueueStats:
        raise StorageError("amqp://me:hunter2hunter2@there refuses", "start it")

    monkeypatch.setattr(SmallQueue, "stats", broken)
    ended = catchment("doctor", "-p", project)
    assert ended.code == ExitCode.NOT_WELL
    assert "NOT  queue      sqlite: amqp://me:***@there refuses" in ended.out
    assert "Try: start it" in ended.out
    assert "ok   archive" in ended.out


def test_a_driver_s_own_error_is_a_finding(
    catchment: Catchment, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: SmallStore, prefix: str) -> Iterator[Entry]:
        raise ConnectionError("no route")

    monkeypatch.setattr(SmallStore, "list", broken)
    ended = catchment("doctor", "-p", project, "--json")
    assert ended.code == ExitCode.NOT_WELL
    assert found(ended)["archive"]["detail"] == "disk: ConnectionError: no route"


def test_an_adapter_may_diagnose_itself(catchment: Catchment, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def diagnose(config: SmallStore.Config, folder: Path) -> list[Finding]:
        return [Finding("warehouse", False, f"{config.path} in {folder.name} is locked", "wait")]

    (project / "catchment.toml").write_text('[warehouse]\npath = "here"\n')
    monkeypatch.setattr(SmallStore, "diagnose", staticmethod(diagnose), raising=False)
    ended = catchment("doctor", "-p", project, "--json")
    assert ended.code == ExitCode.NOT_WELL
    assert found(ended)["warehouse"]["detail"] == "here in .catchment is locked"


def test_a_disk_that_is_nearly_full(catchment: Catchment, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 10**12 - 10**9, 10**9))
    ended = catchment("doctor", "-p", project)
    assert ended.code == ExitCode.NOT_WELL
    assert "NOT  disk       1.0 GB free" in ended.out
    assert "Try: make room: at least 2 GB should be free" in ended.out


def test_damaged_files_that_were_set_aside(catchment: Catchment, project: Path) -> None:
    (project / ".catchment" / "queue" / "broken").mkdir(parents=True)
    assert catchment("doctor", "-p", project).code == ExitCode.DONE
    (project / ".catchment" / "queue" / "broken" / "0a-000001.db").write_text("")
    ended = catchment("doctor", "-p", project)
    assert ended.code == ExitCode.NOT_WELL
    assert "NOT  damaged files  1 set aside in" in ended.out
    assert "0a-000001.db" in ended.out


def test_a_clock_that_was_set_back(catchment: Catchment, project: Path) -> None:
    (project / ".catchment").mkdir()
    late = project / ".catchment" / "late"
    late.write_text("")
    os.utime(late, (time.time() + 7200,) * 2)
    ended = catchment("doctor", "-p", project, "--json")
    assert ended.code == ExitCode.NOT_WELL
    assert "yet a file is of" in str(found(ended)["clock"]["detail"])


def test_secrets_that_others_can_read(catchment: Catchment, project: Path) -> None:
    (project / ".env").write_text("A=1\n")
    (project / ".env").chmod(0o644)
    assert f"chmod 600 {project / '.env'}" in catchment("doctor", "-p", project).out
    (project / ".env").chmod(0o600)
    assert catchment("doctor", "-p", project).code == ExitCode.DONE


def test_a_folder_that_cannot_be_written_to(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(dir: Path) -> None:  # noqa: A002 - as tempfile's own
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refused)
    finding = checks.writable(project / ".catchment")
    assert not finding.is_well
    assert f"{project} cannot be written to: Permission denied" in finding.detail


def test_something_else_in_the_folders_place(tmp_path: Path) -> None:
    (tmp_path / ".catchment").symlink_to(tmp_path / "nowhere")
    assert "is no folder" in checks.writable(tmp_path / ".catchment").detail
    (tmp_path / ".catchment").unlink()
    (tmp_path / ".catchment").write_text("")
    assert not checks.writable(tmp_path / ".catchment").is_well


def test_an_older_duckdb_than_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.versions().is_well
    monkeypatch.setattr(checks, "version", lambda _: "1.4.2.dev3")
    assert not checks.versions().is_well


MOUNTS = r"""
21 1 0:19 / / rw,relatime shared:1 - overlay overlay rw
22 21 0:20 / /proc rw - proc proc rw
23 21 8:1 /volumes/x /data rw,noatime shared:2 master:1 - ext4 /dev/sda1 rw
24 23 0:21 / /data/in\040memory rw - tmpfs tmpfs rw
""".lstrip()


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/home/me", "overlay"),
        ("/data", "ext4"),
        ("/data/acme", "ext4"),
        ("/data/in memory/x", "tmpfs"),
        ("/", "overlay"),
    ],
)
def test_the_file_system_of_a_folder_is_that_of_the_innermost_mount(tmp_path: Path, folder: str, kind: str) -> None:
    (tmp_path / "mounts").write_text(MOUNTS)
    assert checks.filesystem_of(Path(folder), tmp_path / "mounts") == kind


def test_a_system_that_does_not_tell_its_file_systems(tmp_path: Path) -> None:
    assert checks.filesystem_of(tmp_path, tmp_path / "absent") == ""


@pytest.mark.parametrize(("kind", "is_well"), [("ext4", True), ("tmpfs", False), ("overlay", False), ("", True)])
def test_an_outbox_that_a_restart_would_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, is_well: bool
) -> None:
    monkeypatch.setattr(checks, "filesystem_of", lambda _: kind)
    finding = checks.outbox(tmp_path / "outbox")
    assert finding.is_well == is_well
    assert "0 messages wait" in finding.detail
    assert is_well or "[outbox]" in finding.hint


def test_an_outbox_is_looked_at_where_there_is_one(
    catchment: Catchment, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "outbox" not in found(catchment("doctor", "-p", project, "--json"))
    monkeypatch.setattr(SmallQueue, "is_embedded", False)
    finding = found(catchment("doctor", "-p", project, "--json"))["outbox"]
    assert f"{project / '.catchment' / 'outbox'} lies on" in str(finding["detail"])

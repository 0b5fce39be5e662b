from __future__ import annotations

import re
import stat
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from catchment.cli.exits import ExitCode
from catchment.cli.init import project_file
from catchment.collect.config import MirrorConfig, SourceConfig, WebhookConfig
from catchment.config import load_project
from catchment.config.describe import sections
from catchment.listen.config import ListenConfig, RegistryConfig
from tests.cli.conftest import Ended

Catchment = Callable[..., Ended]

pytestmark = pytest.mark.usefixtures("small_adapters")


def test_a_new_project_is_right_and_has_every_default(catchment: Catchment, tmp_path: Path) -> None:
    folder = tmp_path / "acme"
    assert catchment("init", folder).code == ExitCode.DONE
    made = load_project(folder, environment={})
    (folder / "catchment.toml").write_text("")
    assert made == load_project(folder, environment={})
    assert made.name == "acme"


def test_every_setting_uncommented_is_the_default(catchment: Catchment, tmp_path: Path) -> None:
    catchment("init", tmp_path / "acme")
    file = tmp_path / "acme" / "catchment.toml"
    commented = file.read_text()
    expected = load_project(file.parent, environment={})
    # What has no default stands there as `key = …` and is for people to fill in.
    uncommented, count = re.subn(r"(?m)^# (?=(?:\w+ = [^…]+|\[.+\])$)", "", commented)
    named = uncommented.replace('[load.tables."NAME"', '[load.tables."web.signup"')
    named = named.replace('[retention.tables."NAME"', '[retention.tables."web.signup"')
    named = named.replace('columns."NAME"]', "columns.total]")
    mirror = '[collect.sources.web.mirrors."web.stock"]\nkey = ["sku"]\nversion = "at"'
    named = named.replace('[collect.sources."NAME".mirrors."NAME"]', mirror)
    named = named.replace('[collect.sources."NAME"]', '[collect.sources.web]\nwrite_key = "its own"')
    named = named.replace('[collect.webhooks."NAME"]', '[collect.webhooks.shop]\nsecret = "its secret"')
    named = named.replace('[listen."NAME"]', '[listen.chats]\ntype = "small"\ntable = "chat.all"')
    named = named.replace('[listen."NAME".registry]', '[listen.chats.registry]\nurl = "http://registry"')
    named = named.replace('[listen."NAME".forward]', '[listen.chats.forward]\ntype = "sqlite"')
    file.write_text(named)
    project = load_project(file.parent, environment={})
    assert count > 20
    assert list(project.load.tables) == ["web.signup"]
    mirrors = {"web.stock": MirrorConfig(key=["sku"], version="at")}
    assert project.collect.sources == {"web": SourceConfig(write_key="its own", mirrors=mirrors)}
    assert project.collect.webhooks == {"shop": WebhookConfig(secret="its secret")}
    assert project.listen["chats"].settings == ListenConfig(
        table="chat.all", registry=RegistryConfig(url="http://registry")
    )
    forward = project.listen["chats"].forward
    assert forward is not None
    assert forward.type == "sqlite"
    load = structs.replace(project.load, tables={})
    collect = structs.replace(project.collect, sources={}, webhooks={})
    retention = structs.replace(project.retention, tables={})
    assert replace(project, load=load, collect=collect, retention=retention, listen={}) == expected
    assert project.retention.for_table("web.signup") == expected.retention.for_table("web.other")
    assert replace(project.load.for_table("web.signup"), columns={}) == expected.load.for_table("web.other")


def test_what_a_listener_needs_of_each_broker_is_in_the_file() -> None:
    text = project_file("acme")
    [listen] = [section for section in sections() if section.name == "listen"]
    assert listen.by_type
    below = text.partition('# [listen."NAME"]')[2].partition('# [listen."NAME".registry]')[0]
    for kind, settings in listen.by_type.items():
        of_kind = below.partition(f'## With type = "{kind}":')[2].partition("## With type")[0]

        assert all(f"\n# {setting.key} = " in of_kind for setting in settings), kind


def test_secrets_are_kept_from_others_and_from_git(catchment: Catchment, tmp_path: Path) -> None:
    catchment("init", tmp_path / "acme")
    assert stat.S_IMODE((tmp_path / "acme" / ".env").stat().st_mode) == 0o600
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path / "acme", check=True)
    (tmp_path / "acme" / ".catchment").mkdir()
    ignored = subprocess.run(
        ["git", "check-ignore", ".env", ".catchment/x", "catchment.toml"],
        cwd=tmp_path / "acme",
        capture_output=True,
        text=True,
        check=True,
    )
    assert ignored.stdout.split() == [".env", ".catchment/x"]


def test_a_folder_with_something_in_it_is_refused_and_left_alone(catchment: Catchment, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    ended = catchment("init", tmp_path)
    assert ended.code == ExitCode.WRONG_USAGE
    assert ended.err == f"catchment: {tmp_path} is not empty: notes.txt\n  Try: a new or an empty folder\n"
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_empty_folder_is_fine(catchment: Catchment, tmp_path: Path) -> None:
    assert catchment("init", tmp_path).code == ExitCode.DONE
    assert catchment("validate", "-p", tmp_path).code == ExitCode.DONE


def test_a_folder_that_cannot_be_made(catchment: Catchment, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = catchment("init", tmp_path / "file" / "acme")
    assert ended.code == ExitCode.FAILED
    assert "cannot write" in ended.err
    assert "Traceback" not in ended.err

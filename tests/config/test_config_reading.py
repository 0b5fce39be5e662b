from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from catchment.config import ConfigError, Mistake, find_mistakes, find_project, load_project
from catchment.errors import UsageError
from tests.small_adapters import SmallQueue

Write = Callable[..., Path]


def mistakes_of(folder: Path, profile: str | None = None, **environment: str) -> list[Mistake]:
    with pytest.raises(ConfigError) as caught:
        load_project(folder, profile, environment)
    return list(caught.value.mistakes)


def only_mistake(folder: Path, profile: str | None = None, **environment: str) -> Mistake:
    (mistake,) = mistakes_of(folder, profile, **environment)
    return mistake


def test_an_empty_file_is_a_project_with_every_default(project_folder: Write) -> None:
    folder = project_folder("")
    project = load_project(folder, environment={})
    assert (project.name, project.timezone, project.profile) == (folder.name, "UTC", None)
    assert (project.queue.type, project.archive.type, project.warehouse.type) == ("sqlite", "disk", "duckdb")
    assert project.state.type == "sqlite"
    assert (project.load.max_age_s, project.load.max_rows, project.load.max_bytes) == (None, 250_000, 64_000_000)
    assert project.load.dedupe_window == timedelta(days=7)
    assert project.runtime == folder / ".catchment"
    assert project.queue.folder == folder / ".catchment"
    assert project.metrics.port("load") == 0


def test_the_file_of_the_design_with_what_exists(project_folder: Write) -> None:
    project = load_project(
        project_folder("""
[project]
name = "acme"
timezone = "America/Los_Angeles"
[queue]
type = "sqlite"
max_bytes = "2 GiB"
[archive]
type = "disk"
[warehouse]
type = "duckdb"
[state]
type = "sqlite"
[load]
max_age_s = 60
max_rows = 1_000
max_bytes = "1.5 MB"
contract = "evolve"
dedupe_window = "36 hours"
[load.tables."website.signup"]
max_rejected_share = 0.1
[metrics.ports]
load = 9101
"""),
        environment={},
    )
    assert (project.name, project.timezone) == ("acme", "America/Los_Angeles")
    assert project.queue.config.max_bytes == 2 * 2**30
    assert (project.load.max_bytes, project.load.max_age_s) == (1_500_000, 60)
    assert project.load.for_table("website.signup").max_rejected_share == 0.1
    assert project.load.for_table("website.signup").contract == "evolve"
    assert project.load.for_table("website.other").max_rejected_share == 0.5
    assert project.metrics.port("load") == 9101


def test_a_part_opens_as_its_adapter_in_the_runtime_folder(project_folder: Write) -> None:
    project = load_project(project_folder('[queue]\nurl = "there"'), environment={})
    queue = project.queue.open()
    assert isinstance(queue, SmallQueue)
    assert (queue.config.url, queue.folder) == ("there", project.runtime)


def test_the_nearest_folder_above_is_the_project(project_folder: Write) -> None:
    folder = project_folder("")
    below = folder / "models" / "web"
    below.mkdir(parents=True)
    assert find_project(below) == folder


def test_no_project_anywhere_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"(?s)no catchment\.toml in .*catchment init"):
        find_project(tmp_path)


@pytest.mark.parametrize(
    ("text", "line", "key", "words"),
    [
        ("[load]\nmax_row = 1", 2, "load.max_row", "unknown setting"),
        ("[lod]\nmax_rows = 1", 1, "lod", "unknown section"),
        ('[load]\n\nmax_rows = "many"', 3, "load.max_rows", 'must be a whole number, not "many"'),
        ("[load]\nmax_rows = true", 2, "load.max_rows", "must be a whole number, not true"),
        ("[load]\nmax_rows = 0", 2, "load.max_rows", "must be at least 1, not 0"),
        ("[load]\nmax_age_s = 0", 2, "load.max_age_s", "must be more than 0, not 0"),
        ("[load]\nmax_rejected_share = 2", 2, "load.max_rejected_share", "must be at most 1, not 2"),
        ('[load]\nmax_bytes = "64"', 2, "load.max_bytes", "must be a size with its unit"),
        ('[load]\nmax_bytes = "1 kB"', 2, "load.max_bytes", 'must be at least 1000000, not "1 kB"'),
        ("[load]\ndedupe_window = 7", 2, "load.dedupe_window", "must be a duration with its unit"),
        ('[load]\ndedupe_window = "2 s"', 2, "load.dedupe_window", 'must be at least 1 minute, not "2 s"'),
        ('[load]\ncontract = "evolv"', 2, "load.contract", 'must be "evolve" or "freeze" or "reject", not "evolv"'),
        ('[load.tables."a.*.b"]\ncontract = "reject"', 1, 'load.tables."a.*.b"', "must be a table's name"),
        ('[load.tables."catchment.*"]\ncontract = "reject"', 1, 'load.tables."catchment.*"', "must be a table's name"),
        ('[load.tables."a.b".columns.x]\ntype = "text"', 2, 'load.tables."a.b".columns.x.type', 'must be "boolean"'),
        (
            '[load.tables."a.b".columns.x]\nrename = "X y"',
            2,
            'load.tables."a.b".columns.x.rename',
            "must be a column's",
        ),
        ("[load.tables.Signup]", 1, "load.tables.Signup", "must be a table's name"),
        ('[load.tables."catchment.ledger"]', 1, 'load.tables."catchment.ledger"', "none of Catchment's own"),
        ('[load.tables]\n"a.b" = 1', 2, 'load.tables."a.b"', "must be a table of settings, not 1"),
        ("load = 1", 1, "load", "must be a table of settings, not 1"),
        ("queue = 1", 1, "queue", "must be a table of settings, not 1"),
        ("[queue]\ntype = 1", 2, "queue.type", "must be a text in quotes"),
        ('[warehouse]\ntype = "redshift"\nhost = "${NONE}"', 2, "warehouse.type", '"redshift" is not yet'),
        ('[queue]\nhosts = [\n"a",\n2]', 2, "queue.hosts[1]", "must be a text in quotes, not 2"),
        ('[queue]\nhosts = "a"', 2, "queue.hosts", 'must be a list in brackets, not "a"'),
        ('[warehouse]\ntype = "duckbd"', 2, "warehouse.type", 'there is no warehouse of type "duckbd"'),
        ('[warehouse]\ntype = "needy"', 1, "warehouse.url", "is required"),
        ('[state]\ntype = "mysql"', 2, "state.type", 'there is no state of type "mysql"'),
        ('[schedule]\nlisten = "${NONE}"', 1, "schedule", "not yet part of Catchment"),
        ('[serve]\nlisten = "8080"', 2, "serve.listen", "must be HOST:PORT"),
        ('[serve]\nbase_path = "data/"', 2, "serve.base_path", "must be a path without a slash at its end"),
        ('[serve]\nbase_path = "/a/../b"', 2, "serve.base_path", "must be a path without a slash at its end"),
        ('[serve]\npublic_url = "data.acme.example"', 2, "serve.public_url", "that people's browsers show"),
        ('[serve]\npublic_url = "https://a.example/b"', 2, "serve.public_url", "without a path"),
        ('[serve]\nsession_idle = "1 s"', 2, "serve.session_idle", "at least 1 minute"),
        ('[serve]\ntls_key = "a"', 1, "serve", "tls_certificate and tls_key go together"),
        ('[serve.sign_in]\nissuer = "http://a.example"', 2, "serve.sign_in.issuer", "must be an https address"),
        ('[serve.sign_in]\nissuer = "https://a.example"', 1, "serve.sign_in", "issuer and client_id go together"),
        ("[serve.sign_in]\npasswords = false", 1, "serve.sign_in", "nobody can sign in"),
        ('[serve.sign_in.roles]\ndata = "boss"', 2, "serve.sign_in.roles.data", 'must be "viewer" or'),
        ('[project]\ntimezone = "UCT+1"', 2, "project.timezone", "must be a time zone's name"),
        ("[metrics.ports]\nload = 70000", 2, "metrics.ports.load", "must be at most 65535, not 70000"),
        ("profiles = 1", 1, "profiles", "must hold a table for each profile"),
    ],
)
def test_one_mistake(project_folder: Write, text: str, line: int, key: str, words: str) -> None:
    mistake = only_mistake(project_folder(text))
    assert (mistake.file, mistake.line, mistake.key) == ("catchment.toml", line, key)
    assert words in mistake.message


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("[load]\nmax_row = 1", "max_rows"),
        ("[lod]", "load"),
        ('[warehouse]\ntype = "duckbd"', 'type = "duckdb"'),
        ('[project]\ntimezone = "America/Los_Angelos"', "America/Los_Angeles"),
        ("[project]\nx = 1", "one of name, timezone"),
    ],
)
def test_the_nearest_spelling(project_folder: Write, text: str, hint: str) -> None:
    assert only_mistake(project_folder(text)).hint == hint


@pytest.mark.parametrize(
    ("text", "line"),
    [("[load]\nmax_rows = \n", 2), ("[load\n", 1), ("a = 1\na = 2\n", 2), ('x = """\nopen\n', 2), ("\n\n= 1", 3)],
)
def test_what_is_no_toml_is_said_with_its_line(project_folder: Write, text: str, line: int) -> None:
    mistake = only_mistake(project_folder(text))
    assert mistake.line == line
    assert "is no TOML" in mistake.message


def test_a_section_that_is_there_twice_is_said_to_be(project_folder: Write) -> None:
    mistake = only_mistake(project_folder('[queue]\ntype = "sqlite"\n\n[queue]\n'))
    assert mistake.line == 4
    assert mistake.hint == "a section stands in the file once: put these lines under the one that is there"


def test_what_is_no_utf8_is_said_with_its_line(project_folder: Write) -> None:
    folder = project_folder("")
    (folder / "catchment.toml").write_bytes(b'[project]\nname = "caf\xe9"\n')
    mistake = only_mistake(folder)
    assert (mistake.line, mistake.message) == (2, "is not UTF-8")


def test_lines_behind_long_strings_and_windows_line_ends(project_folder: Write) -> None:
    folder = project_folder("")
    text = '[project]\r\nname = """\r\n[load]\r\nmax_rows = 0\r\n"""\r\n# [queue]\r\n[load]\r\nmax_rows = 0\r\n'
    (folder / "catchment.toml").write_bytes(text.encode())
    assert only_mistake(folder).line == 8


def test_a_profile_is_laid_deep_over_the_rest(project_folder: Write) -> None:
    folder = project_folder("""
[load]
max_rows = 10
max_age_s = 2
[load.tables."a.b"]
max_rejected_share = 0.1
[profiles.production.load]
max_rows = 20
[profiles.production.load.tables."a.b"]
contract = "evolve"
""")
    assert load_project(folder, environment={}).load.max_rows == 10
    load = load_project(folder, "production", {}).load
    assert (load.max_rows, load.max_age_s) == (20, 2)
    assert load.for_table("a.b").max_rejected_share == 0.1
    assert load.tables["a.b"].contract == "evolve"


def test_a_profile_with_another_type_starts_that_section_anew(project_folder: Write) -> None:
    folder = project_folder("""
[warehouse]
path = "elsewhere"
[profiles.production.warehouse]
type = "needy"
url = "x"
[profiles.same.warehouse]
type = "duckdb"
""")
    assert load_project(folder, "production", {}).warehouse.type == "needy"
    assert load_project(folder, "same", {}).warehouse.config.path == "elsewhere"


def test_mistakes_of_a_profile_are_said_where_the_profile_has_them(project_folder: Write) -> None:
    folder = project_folder("""
[load]
max_rows = 10
[profiles.production.load]
max_rows = 0
max_row = 1
[profiles.production.queue]
type = "rabbitmq"
url = "${RABBITMQ_URL}"
""")
    assert load_project(folder, environment={}).load.max_rows == 10
    keys = {(mistake.line, mistake.key) for mistake in mistakes_of(folder, "production")}
    assert keys == {
        (5, "profiles.production.load.max_rows"),
        (6, "profiles.production.load.max_row"),
        (8, "profiles.production.queue.type"),
        (9, "profiles.production.queue.url"),
    }


def test_an_unknown_profile_has_its_nearest_spelling(project_folder: Write) -> None:
    mistake = only_mistake(project_folder("[profiles.production.load]\nmax_rows = 1"), "prodution")
    assert (mistake.message, mistake.hint) == ("there is no profile prodution", "production")


def test_all_profiles_are_checked_but_only_this_machine_needs_its_variables(project_folder: Write) -> None:
    folder = project_folder("""
[queue]
url = "${HERE}"
[profiles.production.queue]
url = "${ONLY_THERE}"
hostz = []
""")
    assert [mistake.key for mistake in find_mistakes(folder, {})] == [
        "queue.url",
        "profiles.production.queue.hostz",
    ]
    assert [mistake.key for mistake in find_mistakes(folder, {"HERE": "x"})] == ["profiles.production.queue.hostz"]


@pytest.mark.parametrize("section", ["archive", "queue"])
def test_a_place_of_its_own_for_archive_or_queue(tmp_path: Path, section: str) -> None:
    (tmp_path / "catchment.toml").write_text(f'[project]\nname = "x"\n[{section}]\npath = "elsewhere"\n')
    project = load_project(tmp_path, None)
    assert getattr(project, section).config.path == "elsewhere"

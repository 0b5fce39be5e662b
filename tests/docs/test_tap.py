"""What the page on tapping brokers shows is what the settings and the code take."""

from __future__ import annotations

import re
from pathlib import Path

from catchment.config import find_mistakes, load_project
from catchment.listen.config import ListenConfig, mistakes
from catchment.listen.naming import ABOUT
from catchment.listen.transform import Transformation
from catchment.record import DEFAULT_WINDOW
from tests.listen.hearing import heard, records, settings

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "tap-a-broker.md").read_text(encoding="utf-8")
VARIABLES = {"CHAT_RABBITMQ_URL": "amqps://u:p@h/v", "REGISTRY_USER": "u", "REGISTRY_PASSWORD": "p"}


def test_its_settings_are_right(tmp_path: Path) -> None:
    written = "\n".join(re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL))
    (tmp_path / "catchment.toml").write_text(written)
    assert find_mistakes(tmp_path, VARIABLES) == []
    project = load_project(tmp_path, environment=VARIABLES)
    assert list(project.listen) == ["chats", "orders", "mails"]
    assert project.listen["orders"].settings.registry is not None


def test_each_change_on_the_way_is_one_of_the_settings(tmp_path: Path) -> None:
    for line in re.findall(r"\n\| `(\w+ = .*?)` \|", PAGE):
        if line.startswith("function"):
            continue
        (tmp_path / "catchment.toml").write_text(
            f'[listen.a]\ntype = "kafka"\nbrokers = "h:1"\ntopic = "t"\ntable = "a.b"\n{line}\n'
        )
        assert find_mistakes(tmp_path, {}) == [], line


def test_every_name_is_on_it(tmp_path: Path) -> None:
    named = set(re.findall(r"`(\w+)`", PAGE.partition("| `data`, `data.FIELD` |")[2].partition("\n\n")[0]))
    assert named >= set(ABOUT)
    assert not list(mistakes(ListenConfig(table="a.b"), (), "kafka"))


def test_its_function_does_what_it_says(tmp_path: Path) -> None:
    [python] = re.findall(r"<!-- run by tests/docs/test_tap.py -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "listen").mkdir()
    (tmp_path / "listen" / "chats.py").write_text(python)
    transformation = Transformation("chats", settings(function="chats:clean"), tmp_path, DEFAULT_WINDOW)
    assert not transformation.outcome(heard({"kind": "typing"})).lines
    message = heard({"user": {"id": 1}, "text": "x", "files": [{"name": "a.png"}]}, headers={"tenant": "acme"})
    filed = {record["table"]: record["data"] for record in records(transformation.outcome(message))}
    assert filed == {"chat.all": {"user": 1, "tenant": "acme", "text": "x"}, "chat.files": {"name": "a.png"}}

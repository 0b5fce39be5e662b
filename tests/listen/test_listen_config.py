from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from catchment.config import ConfigError, load_project
from catchment.config.mistakes import Mistake
from catchment.config.schema import project_schema

GOOD = """
[listen.chats]
type = "rabbitmq"
url = "${RABBITMQ_URL}"
exchange = "chat"
routing_keys = ["message.*"]
table = "chat.{routing_key}"
id = "data.message_id"
rename = { userId = "user_id" }
drop = ["body.text"]
cast = { at = "time" }
set = { tenant = "{header.tenant}", n = 3 }
only = "data.kind != 'test'"
function = "chats:clean"
registry = { url = "https://registry:8081" }
[listen.chats.forward]
type = "kafka"
brokers = "kafka:9092"
topic = "chats"
send = "data"
[listen.orders]
type = "kafka"
brokers = "kafka:9092"
topic = "orders"
table = "shop.{topic}"
set = { at = "{partition}/{offset}" }
[listen.mails]
type = "sqs"
queue_url = "https://sqs.eu-central-1.amazonaws.com/1/mails"
table = "mail.all"
"""

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(text: str) -> Path:
        (tmp_path / "listen").mkdir(exist_ok=True)
        (tmp_path / "listen" / "chats.py").write_text("def clean(data, message):\n    return data\n")
        (tmp_path / "catchment.toml").write_text(text)
        return tmp_path

    return written


def mistakes(folder: Path) -> list[Mistake]:
    with pytest.raises(ConfigError) as raised:
        load_project(folder, environment={"RABBITMQ_URL": "amqp://u:password@h/v"})
    return list(raised.value.mistakes)


def test_listeners_of_every_kind_are_read(write: Write) -> None:
    project = load_project(write(GOOD), environment={"RABBITMQ_URL": "amqp://u:password@h/v"})
    assert {name: part.type for name, part in project.listen.items()} == {
        "chats": "rabbitmq", "orders": "kafka", "mails": "sqs",
    }  # fmt: skip
    chats = project.listen["chats"]
    assert chats.config.exchange == "chat"
    assert chats.settings.assign == {"tenant": "{header.tenant}", "n": 3}
    assert chats.forward is not None
    assert (chats.forward.type, chats.forward.config.topic, chats.send) == ("kafka", "chats", "data")
    assert project.listen["orders"].config.tapped("orders").group == "catchment.listen.orders"
    assert chats.config.tapped("chats").queue == "catchment.listen.chats"


def test_editors_check_listeners_by_the_schema(write: Write) -> None:
    import tomllib

    schema = project_schema()
    jsonschema.validate(tomllib.loads(GOOD), schema)
    for wrong in (
        '[listen.a]\ntype = "rabbitmq"\ntable = "a.b"',
        '[listen.a]\ntype = "sqs"\nqueue_url = "http://h/q"\ntable = "a.b"\ntopic = "x"',
        '[listen.a]\ntype = "sqs"\nqueue_url = "http://h/q"',
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(tomllib.loads(wrong), schema)
    json.dumps(schema)


def test_all_mistakes_are_said_at_once(write: Write) -> None:
    text = """
[listen.Chats]
type = "rabbitmq"
url = "http://h"
exchange = "chat"
exchagne = "chat"
table = "chat"
id = "message_id2"
only = "kind == 3"
function = "chats.clean"
drop = ["a..b"]
cast = { at = "date" }
set = { a = "{b" }
[listen.chats.registry]
url = "ftp://h"
[listen.orders]
type = "kafak"
[listen.mails]
table = "mail.all"
"""
    found = {(mistake.key, mistake.line): mistake for mistake in mistakes(write(text))}
    assert sorted(key for key, _ in found) == sorted([
        "listen.Chats", "listen.Chats.url", "listen.Chats.exchagne", "listen.Chats.table", "listen.Chats.id",
        "listen.Chats.only", "listen.Chats.function", "listen.Chats.drop[0]", "listen.Chats.cast.at",
        "listen.Chats.set.a", "listen.orders.type", "listen.mails.type", "listen.chats.type",
    ])  # fmt: skip
    assert found["listen.Chats.exchagne", 6].hint == "exchange"
    assert found["listen.orders.type", 17].hint == 'type = "kafka"'


@pytest.mark.parametrize(
    ("lines", "key", "words"),
    [
        ('table = "a.{routing_key}"', "table", "names routing_key, which kafka does not say"),
        ('table = "a.b"\nonly = "exchange == 3"', "only", "names exchange, which kafka does not say"),
        ('table = "a.b"\nset = { x = "{message_id}" }', "set.x", "names message_id, which kafka does not say"),
        ('table = "a.b"\nid = "routing_key"', "id", "names routing_key"),
        ('table = "a.b"\ntime = "data.at"', "time", "goes with id"),
        ('table = "a.b"\nfunction = "chats:cleen"', "function", "there is no cleen in listen/chats.py"),
        ('table = "a.b"\nfunction = "chat:clean"', "function", "there is no listen/chat.py"),
        ('table = "catchment.dead_letters"', "table", "is Catchment's own"),
        ('table = "{header.table}"', "table", "must be schema.table"),
        ('table = "a.b"\nset = { x = [1] }', "set.x", "must be"),
        ('table = "a.b"\nforward = { topic = "x" }', "forward.type", "is required"),
        ('table = "a.b"\nforward = { type = "kafka", topic = "x" }', "forward.brokers", "is required"),
        ('table = "a.b"\nforward = { type = "sqlite", send = "all" }', "forward.send", "must be"),
        ('table = "a.b"\nforward = 3', "forward", "must be a table of settings"),
        ('table = "a.b"\noptions = { "group.id" = "x" }', "options.group.id", "group = …, beside options"),
        ('table = "a.b"\nregistry = { url = "https://me:pw@h" }', "registry.url", "must be an address"),
    ],
)  # fmt: skip
def test_a_mistake_is_said_where_it_is(write: Write, lines: str, key: str, words: str) -> None:
    text = f'[listen.orders]\ntype = "kafka"\nbrokers = "kafka:9092"\ntopic = "orders"\n{lines}\n'
    (mistake,) = mistakes(write(text))
    assert mistake.key.replace('"', "") == f"listen.orders.{key}"
    assert words in f"{mistake.message} {mistake.hint}"


def test_a_profile_lays_its_settings_over(write: Write) -> None:
    text = GOOD + '[profiles.production.listen.orders]\ntopic = "all-orders"\n'
    project = load_project(write(text), "production", environment={"RABBITMQ_URL": "amqp://u:password@h/v"})
    assert project.listen["orders"].config.topic == "all-orders"
    assert project.listen["orders"].settings.table == "shop.{topic}"


def test_a_profile_with_a_broker_of_another_kind_starts_that_listener_anew(write: Write) -> None:
    text = GOOD + (
        '[profiles.production.listen.orders]\ntype = "sqs"\ntable = "shop.orders"\n'
        'queue_url = "https://sqs.eu-central-1.amazonaws.com/1/orders"\n'
    )
    project = load_project(write(text), "production", environment={"RABBITMQ_URL": "amqp://u:password@h/v"})
    assert {name: part.type for name, part in project.listen.items()} == {
        "chats": "rabbitmq", "orders": "sqs", "mails": "sqs",
    }  # fmt: skip
    assert project.listen["orders"].settings.assign == {}

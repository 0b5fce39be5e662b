"""An exchange of others, tapped from end to end: into DuckDB, by processes that run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pika
import pytest

from catchment.cli.exits import ExitCode
from tests.cli.live import Live
from tests.listen.tapping import Exchange, await_listening, project_file, until
from tests.servers.rabbitmq import RabbitServer

FUNCTION = """
def clean(data, message):
    if data.get("bad"):
        raise ValueError("this one is bad")
    return {"n": data["n"], "tenant": message.headers.get("tenant")}
"""


@pytest.fixture
def exchange(rabbit_server: RabbitServer) -> Iterator[Exchange]:
    made = Exchange(rabbit_server)
    yield made
    made.drop()


@pytest.fixture
def lives() -> Iterator[list[Live]]:
    made: list[Live] = []
    yield made
    for live in made:
        live.close()


def test_what_an_exchange_says_is_filed_by_its_routing_keys(
    exchange: Exchange, lives: list[Live], tmp_path: Path
) -> None:
    live = Live(tmp_path / "acme", project_file(exchange))
    lives.append(live)
    assert live.done("validate")
    assert "its queue" in live.run("doctor").out
    live.up()
    await_listening(live)
    exchange.say("message.created", {"text": "hello", "n": 1}, message_id="m1")
    exchange.say("message.created", {"text": "hello", "n": 1}, message_id="m1")
    exchange.say("note.a.b", {"n": 2}, message_id="m2")
    exchange.say("other", {"n": 3}, message_id="m3")
    exchange.say("message.created", b"\x00 no JSON", message_id="m4")
    until(lambda: len(live.status()["tables"]) == 2, "the tables")
    until(lambda: len(live.letters()) == 1, "the dead letter")
    rows = live.rows("SELECT n, text, _id, _source FROM chat.message_created")
    assert rows == [{"n": 1, "text": "hello", "_id": "m1/0", "_source": "chats"}]
    assert live.rows("SELECT n FROM chat.note_a_b") == [{"n": 2}]
    status = live.status()
    assert status["listeners"] == [{"name": "chats", "type": "rabbitmq", "messages": 0}]
    assert [service["name"] for service in status["services"]] == ["listen", "load"]
    assert "0 messages wait in" in live.run("doctor").out
    (letter,) = live.letters()
    (live.folder / "mended.json").write_text('{"n": 4}')
    again = live.run("dead-letters retry", letter["id"])
    assert again.code == ExitCode.WRONG_USAGE
    assert "would be one again: not-json" in again.err
    live.done("dead-letters retry", letter["id"], "--mended", live.folder / "mended.json")
    created = "SELECT n, _id FROM chat.message_created ORDER BY n"
    until(lambda: len(live.rows(created)) == 2, "the mended message")
    assert live.rows(created)[1] == {"n": 4, "_id": "m4/0"}
    until(lambda: not live.letters(), "the letter to be settled")
    assert live.down() == 0


def test_an_exchange_that_is_not_there_is_said_until_it_is(
    exchange: Exchange, rabbit_server: RabbitServer, lives: list[Live], tmp_path: Path
) -> None:
    live = Live(tmp_path / "acme", project_file(exchange))
    lives.append(live)
    with rabbit_server.channel() as channel:
        channel.exchange_delete(exchange.name)
    live.up()
    said = "listen is not ready: chats: "
    problem = until(lambda: next((each for each in live.status()["problems"] if said in each), ""), "the problem")
    assert f"no exchange '{exchange.name}'" in problem
    assert "RabbitMQ refuses" in live.said.read_text()
    with rabbit_server.channel() as channel:
        channel.exchange_declare(exchange.name, "topic", durable=True)
    await_listening(live)
    assert live.status()["problems"] == []
    assert live.down() == 0


def test_preview_shows_what_would_be_filed_and_takes_nothing(
    exchange: Exchange, rabbit_server: RabbitServer, lives: list[Live], tmp_path: Path
) -> None:
    live = Live(tmp_path / "acme", project_file(exchange, 'function = "chats:clean"\n'))
    lives.append(live)
    (live.folder / "listen").mkdir()
    (live.folder / "listen" / "chats.py").write_text(FUNCTION)
    assert live.done("validate")
    with rabbit_server.channel() as channel:
        channel.queue_declare(exchange.queue, durable=True, arguments={"x-queue-type": "quorum"})
        channel.queue_bind(exchange.queue, exchange.name, "message.*")

        import threading

        ended = threading.Event()

        def say() -> None:
            while not ended.wait(0.2):
                exchange.say("message.new", {"n": 1}, message_id="m1", headers={"tenant": "acme"})
                exchange.say("message.new", {"bad": True}, message_id="m2")

        saying = threading.Thread(target=say, daemon=True)
        saying.start()
        shown = live.run("listen preview", "chats", "--limit", "2", "--wait", "50")
        ended.set()
        saying.join()
        lines = [json.loads(line) for line in shown.out.splitlines()]
        assert shown.code == 0
        assert "(2 messages: 1 records, 0 left out, 1 dead letters)" in shown.err
        filed = {line["table"]: line for line in lines}
        assert filed["chat.message_new"]["data"] == {"n": 1, "tenant": "acme"}
        assert "ValueError: this one is bad" in filed["catchment.dead_letters"]["data"]["detail"]
        found = channel.queue_declare(exchange.queue, durable=True, passive=True).method
        assert found.message_count >= 2
        with pytest.raises(pika.exceptions.ChannelClosedByBroker):
            channel.queue_declare(f"{exchange.queue}.preview", passive=True)
    assert live.run("listen preview", "chat").code == ExitCode.WRONG_USAGE
    assert "did you mean chats?" in live.run("listen preview", "chat").err

"""SQS keeps what every queue promises: the conformance suite, and what only SQS can do wrong."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.servers.moto import SECRET
from tests.servers.sqs import Server, answering, taken

from catchment.config import find_mistakes
from catchment.errors import CatchmentError, Retry, StorageError
from catchment.pack import Header, assemble
from catchment.queues.sqs import SqsQueue
from catchment.queues.sqs_config import SqsConfig
from catchment.testing.queues import Factory, QueueConformance, messages_of, take

EARLY = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.fixture
def server(sqs_server: Server) -> Server:
    return sqs_server


class TestSqsQueue(QueueConformance):
    keeps_order = False
    takes_empty = False
    max_message_bytes = 1_000_000

    @pytest.fixture
    def factory(self, server: Server, tmp_path: Path, request: pytest.FixtureRequest) -> Factory:
        visibility_s = 8 if "killed_consumer" in request.node.name else 120
        return partial(SqsQueue, server.config(visibility_s=visibility_s), tmp_path)


@pytest.fixture
def open_queue(tmp_path: Path) -> Iterator[Callable[[SqsConfig], SqsQueue]]:
    """Queues, closed at the end."""
    opened: list[SqsQueue] = []

    def open_one(config: SqsConfig) -> SqsQueue:
        opened.append(SqsQueue(config, tmp_path))
        return opened[-1]

    yield open_one
    for queue in opened:
        queue.close()


Open = Callable[[SqsConfig], SqsQueue]


def test_a_fifo_queue_takes_what_is_sent_once_more_once(server: Server, open_queue: Open) -> None:
    """And gives out many messages before the first is acknowledged."""
    queue = open_queue(server.config(fifo=True))
    sent = [b"%d" % at for at in range(30)]
    queue.publish(sent)
    held = take(queue, 30)
    assert sorted(message.body for message in messages_of(held)) == sorted(sent)
    queue.ack(held)
    assert queue.stats().messages == 0


def test_batches_have_ten_messages_and_a_mebibyte_at_most(open_queue: Open) -> None:
    batches: list[list[int]] = []

    def answer(operation: str, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        sizes = [
            len(each["MessageBody"])
            + sum(
                len(name) + len(value["DataType"]) + len(base64.b64decode(value["BinaryValue"]))
                for name, value in each.get("MessageAttributes", {}).items()
            )
            for each in request["Entries"]
        ]
        batches.append(sizes)
        return taken(request)

    with answering(answer) as config:
        open_queue(config).publish([b"x" * 400_000] * 5 + [b"y"] * 25 + [b"z" * 1_000_000])
    assert sum(map(len, batches)) == 31
    assert max(map(len, batches)) == 10
    assert max(map(sum, batches)) <= 1_048_576
    assert len(batches) <= 3 + 3 + 1


def test_of_a_batch_that_failed_in_part_the_rest_is_sent_again(open_queue: Open) -> None:
    sent: list[list[str]] = []

    def answer(operation: str, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        sent.append([each["MessageBody"] for each in request["Entries"]])
        return taken(request, ("1", "InternalError", False)) if len(sent) == 1 else taken(request)

    with answering(answer) as config:
        open_queue(config).publish([b"a", b"b", b"c"])
    assert [len(batch) for batch in sent] == [3, 1]
    assert sent[1] == [sent[0][1]]


@pytest.mark.parametrize(
    ("code", "fault", "error"),
    [("InvalidParameterValue", True, StorageError), ("ThrottlingException", False, Retry)],
)
def test_what_stays_refused_is_told(open_queue: Open, code: str, fault: bool, error: type[Exception]) -> None:
    with (
        answering(lambda operation, request: taken(request, ("0", code, fault))) as config,
        pytest.raises(error, match=f"cannot publish to .*acme: {code}"),
    ):
        open_queue(config).publish([b"a"])


@pytest.mark.parametrize(
    ("code", "error", "hint"),
    [
        ("QueueDoesNotExist", StorageError, "make the queue"),
        ("AccessDeniedException", StorageError, "credentials that may"),
        ("InvalidClientTokenId", StorageError, "credentials that may"),
        ("ServiceUnavailable", Retry, "doctor"),
    ],
)
def test_refusals_say_what_to_do(open_queue: Open, code: str, error: type[CatchmentError], hint: str) -> None:
    with answering(
        lambda operation, request: (400, {"__type": f"com.amazonaws.sqs#{code}", "message": "no"})
    ) as config:
        queue = open_queue(config)
        for call in (lambda: queue.publish([b"a"]), lambda: queue.receive(1, 0), queue.stats):
            with pytest.raises(error, match=code) as raised:
                call()
            assert hint in raised.value.hint
            assert SECRET not in str(raised.value)
        (finding,) = SqsQueue.diagnose(config, Path())
        assert (finding.is_well, hint in finding.hint) == (False, True)


def test_a_service_that_is_away_can_be_asked_later(open_queue: Open) -> None:
    config = SqsConfig(
        queue_url="http://127.0.0.1:1/1/acme", endpoint="http://127.0.0.1:1", region="us-east-1", access_key_id="k",
        secret_access_key=SECRET,
    )  # fmt: skip
    queue = open_queue(config)
    for call in (lambda: queue.publish([b"a"]), lambda: queue.receive(1, 0), queue.stats):
        with pytest.raises(Retry, match=r"cannot .* http://127") as raised:
            call()
        assert SECRET not in str(raised.value)


def test_too_many_in_flight_is_a_reason_to_archive_them_and_no_error(open_queue: Open) -> None:
    with answering(lambda operation, request: (400, {"__type": "com.amazonaws.sqs#OverLimit"})) as config:
        assert open_queue(config).receive(1, 0.01) is None


def test_keep_extends_what_is_held_and_tells_what_was_lost(open_queue: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time passes as the test says."""
    now_s = 1_000.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    asked: list[tuple[str, list[str]]] = []
    waiting = [f"h{at}" for at in range(4)]

    def answer(operation: str, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if operation == "ReceiveMessage":
            some, waiting[:] = waiting[:], []
            return 200, {"Messages": [received(handle) for handle in some]}
        handles = [each["ReceiptHandle"] for each in request["Entries"]]
        asked.append((operation, handles))
        gone = [("0", "ReceiptHandleIsInvalid", True)] if handles[0] == "h0" else []
        return taken(request, *gone)

    with answering(answer) as config:
        queue = open_queue(config)
        first = queue.receive(20, 0)
        second = queue.receive(10**6, 0)
        assert first is not None
        assert second is not None
        assert [len(first.messages), len(second.messages)] == [2, 2]
        assert queue.keep([first, second]) == [first, second]
        assert asked == [], "asked for what has just begun"
        now_s += 50
        kept = queue.keep([first, second])
        assert asked.pop() == ("ChangeMessageVisibilityBatch", ["h0", "h1", "h2", "h3"])
        assert [len(delivery.messages) for delivery in kept] == [1, 2], "h0 was lost, h1 was not"
        now_s += 100
        assert queue.keep([second]) == [second]
        now_s += 30
        queue.ack(kept)  # of h1 the time has run out: it may be somebody else's
        assert ("DeleteMessageBatch", ["h2", "h3"]) in asked
        assert all("h1" not in handles for operation, handles in asked if operation == "DeleteMessageBatch")
        assert queue.keep(kept) == []


def received(handle: str) -> dict[str, Any]:
    return {
        "MessageId": f"id of {handle}", "ReceiptHandle": handle, "Body": "0123456789",
        "Attributes": {"SentTimestamp": "1796000000000"},
    }  # fmt: skip


def test_an_acknowledgement_that_fails_in_part_can_be_made_again(open_queue: Open) -> None:
    deleted: list[list[str]] = []

    def answer(operation: str, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if operation == "ReceiveMessage":
            return 200, {"Messages": [received("a"), received("b")] if not deleted else []}
        if operation != "DeleteMessageBatch":
            return taken(request)
        deleted.append([each["ReceiptHandle"] for each in request["Entries"]])
        return taken(request, ("0", "InternalError", False)) if len(deleted) == 1 else taken(request)

    with answering(answer) as config:
        queue = open_queue(config)
        held = queue.receive(10**6, 0)
        assert held is not None
        queue.ack([held])
        queue.ack([held])
    assert deleted == [["a", "b"], ["a"]]


@pytest.mark.parametrize(
    ("text", "line", "key", "words"),
    [
        ('queue_url = "acme"', 3, "queue.queue_url", "must be an address"),
        ('queue_url = "https://sqs.acme.example"', 3, "queue.queue_url", "must end in a queue's name"),
        ('queue_url = "https://a.example/1/q"\nvisibility_s = 5', 4, "queue.visibility_s", "at least 30"),
    ],
)
def test_a_mistake_in_the_settings(tmp_path: Path, text: str, line: int, key: str, words: str) -> None:
    (tmp_path / "catchment.toml").write_text(f'[queue]\ntype = "sqs"\n{text}')
    (mistake,) = find_mistakes(tmp_path)
    assert (mistake.line, mistake.key) == (line, key)
    assert words in mistake.message


def test_the_region_is_that_of_the_address() -> None:
    assert SqsConfig(queue_url="https://sqs.eu-west-1.amazonaws.com/1/q").region_name() == "eu-west-1"
    assert SqsConfig(queue_url="https://sqs.eu-west-1.amazonaws.com/1/q", region="x").region_name() == "x"
    assert SqsConfig(queue_url="https://acme.example/1/q").region_name() is None


def test_what_is_wrong_with_a_queue_is_said(server: Server) -> None:
    config = server.config()
    client = server.client()
    client.set_queue_attributes(
        QueueUrl=config.queue_url, Attributes={"MaximumMessageSize": "262144", "MessageRetentionPeriod": "3600"}
    )
    client.close()
    findings = SqsQueue.diagnose(config, Path())
    assert [finding.is_well for finding in findings] == [True, False, False]
    assert "MaximumMessageSize=1048576" in findings[1].hint


def test_an_idle_loader_asks_about_once_a_second(open_queue: Open) -> None:
    asked: list[int] = []

    def answer(operation: str, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        asked.append(request["WaitTimeSeconds"])
        time.sleep(request["WaitTimeSeconds"])
        return 200, {}

    with answering(answer) as config:
        queue = open_queue(config)
        assert [queue.receive(1_000, 0.5), queue.receive(1_000, 2.0)] == [None, None]
    assert asked == [1, 2]


def test_text_lies_where_others_look_for_it_and_all_else_in_the_attribute(
    server: Server, open_queue: Callable[[SqsConfig], SqsQueue]
) -> None:
    config = server.config()
    odd = [b"a\r\nb", b"\x00", b"\xff", "\ufffe".encode(), assemble(HEADER, b"frame")]
    bodies = [b'{"n": 1}', "größer ≠ 東京 🎉".encode(), *odd]
    queue = open_queue(config)
    queue.publish(bodies)
    received = server.client().receive_message(
        QueueUrl=config.queue_url, MaxNumberOfMessages=10, MessageAttributeNames=["All"], VisibilityTimeout=0
    )["Messages"]
    texts = {each["Body"] for each in received if "MessageAttributes" not in each}
    assert texts == {'{"n": 1}', "größer ≠ 東京 🎉"}
    assert sorted(message.body for message in messages_of(take(queue, len(bodies)))) == sorted(bodies)


HEADER = Header(1, "a.b", 1, 5, EARLY, EARLY, EARLY)

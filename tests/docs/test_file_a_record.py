"""What the page on filing a record has services run, by clients that know nothing of Catchment: each example becomes a
row of the project whose queue it is."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import jsonschema
import msgspec
import pytest

from catchment.queues.rabbitmq import RabbitMQQueue
from catchment.queues.rabbitmq_config import RabbitMQConfig
from catchment.record import json_schema
from tests.cli.live import Live, until
from tests.crash.brokers import kafka_settings, rabbitmq_settings, sqs_settings
from tests.missing import without
from tests.sdk.installed import node, node_modules
from tests.servers import kafka
from tests.servers.moto import KEY, REGION, SECRET

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "file-a-record.md"
PACKAGES = Path(__file__).parent / "packages"
_EXAMPLE = re.compile(r"<!-- run by tests/docs/test_file_a_record.py: (\w+) -->\n```(\w+)\n(.*?)```", re.DOTALL)
EXAMPLES = [(match[1], match[2], match[3]) for match in _EXAMPLE.finditer(PAGE.read_text(encoding="utf-8"))]
NUMBERS = {"python": 1, "javascript": 2, "ruby": 3, "sh": 5}


def _command(language: str, text: str) -> tuple[list[str], dict[str, str]]:
    """How to run it, and what it needs in its environment."""
    match language:
        case "python":
            return [sys.executable, "-c", text], {}
        case "javascript":
            return [node(), "-e", text], {"NODE_PATH": str(node_modules(PACKAGES))}
        case "ruby":
            return ["ruby", "-e", text], {}
    return ["sh", "-c", text], {}


def _needed(kind: str, language: str) -> str | None:
    """A program without which it cannot be run."""
    shell = {"rabbitmq": "amqp-publish", "kafka": "kcat"}
    return "ruby" if language == "ruby" else shell[kind] if language == "sh" else None


@contextmanager
def _queue(kind: str, request: pytest.FixtureRequest) -> Iterator[tuple[str, dict[str, str]]]:
    """Settings of a project, and what a service has in its environment."""
    match kind:
        case "rabbitmq":
            server = request.getfixturevalue("rabbit_server")
            config = RabbitMQConfig(url=server.url)
            with closing(RabbitMQQueue(config, Path())) as queue:
                queue.receive(1, 0)  # makes exchange and queue
            yield rabbitmq_settings(config), {"RABBITMQ_URL": server.url}
            server.drop(config)
        case "kafka":
            with kafka.mocking() as cluster:
                made = msgspec.structs.replace(cluster.config(), topic="catchment")
                yield kafka_settings(made), {"KAFKA_BROKERS": cluster.brokers}
        case "sqs":
            server = request.getfixturevalue("sqs_server")
            config = server.config()
            yield (
                sqs_settings(config),
                {
                    "QUEUE_URL": config.queue_url, "AWS_ENDPOINT_URL": config.endpoint, "AWS_REGION": REGION,
                    "AWS_DEFAULT_REGION": REGION, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET,
                },
            )  # fmt: skip


def test_it_says_which_are_run() -> None:
    text = PAGE.read_text(encoding="utf-8")
    fences = re.findall(r"^```(python|javascript|ruby|java|sh)$", text, re.MULTILINE)
    assert len(fences) == 15
    assert len(EXAMPLES) + text.count(" (not run):") == 15


def test_what_it_shows_is_a_record_by_the_published_schema() -> None:
    shown = re.findall(r"'(\{\"table\": .*\}\})'", PAGE.read_text(encoding="utf-8"))
    assert len(shown) == 3
    for text in shown:
        jsonschema.validate(json.loads(text), json_schema())


@pytest.mark.parametrize("kind", ["rabbitmq", "kafka", "sqs"])
def test_each_example_becomes_a_row(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    examples = [(language, text) for of, language, text in EXAMPLES if of == kind]
    with _queue(kind, request) as (settings, variables):
        for language, text in examples:
            needed = _needed(kind, language)
            if needed is not None and shutil.which(needed) is None:
                without(f"{needed} is not installed (tests/system_packages.sh brings it)")
            command, more = _command(language, text)
            subprocess.run(command, env=os.environ | variables | more, check=True, timeout=120, cwd=tmp_path)
        live = Live(tmp_path / "shop", f"[load]\nmax_age_s = 0.2\n{settings}")
        with closing(live):
            live.up()
            wanted = sorted(NUMBERS[language] for language, _ in examples)
            asked = "SELECT number FROM shop.orders ORDER BY number"
            until(lambda: live.status()["queue"]["messages"] == 0, "an empty queue")
            until(lambda: [row["number"] for row in live.rows(asked)] == wanted, "the rows")
            assert live.letters() == []
            assert live.down() == 0

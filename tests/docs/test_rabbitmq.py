"""What the page on RabbitMQ has people run, run as it stands there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec

from catchment.queues.rabbitmq import RabbitMQQueue
from catchment.queues.rabbitmq_config import RabbitMQConfig
from catchment.testing.queues import messages_of, take
from tests.missing import without
from tests.servers.rabbitmq import RabbitServer

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "queue-on-rabbitmq.md"


def examples(language: str) -> list[str]:
    pattern = rf"<!-- run by tests/docs/test_rabbitmq.py -->\n```{language}\n(.*?)```"
    return re.findall(pattern, PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_what_it_shows_files_a_record_with_the_permissions_it_says(
    rabbit_server: RabbitServer, tmp_path: Path
) -> None:
    text = PAGE.read_text(encoding="utf-8")
    [of_service] = re.findall(r"set_permissions -p VHOST shop '(.*?)' '(.*?)' '(.*?)'`", text)
    [of_catchment] = re.findall(r"Catchment's own user\nneeds `'(.*?)' '(.*?)' '(.*?)'`", text)
    rabbit_server.add_user("shop", "shop-password", *of_service)
    rabbit_server.add_user("loader", "loader-password", *of_catchment)
    if shutil.which("amqp-publish") is None:
        without("amqp-publish is not installed (tests/system_packages.sh brings it)")
    config = RabbitMQConfig(url=rabbit_server.url_of("loader", "loader-password"))
    queue = RabbitMQQueue(config, tmp_path)
    try:
        assert queue.receive(1, 0) is None
        environment = os.environ | {"RABBITMQ_URL": rabbit_server.url_of("shop", "shop-password")}
        [python], [shell] = examples("python"), examples("sh")
        subprocess.run([sys.executable, "-c", python], env=environment, check=True, timeout=60)
        subprocess.run(["sh", "-c", shell], env=environment, check=True, timeout=60)
        received = take(queue, 2)
        assert queue.stats().messages == 2
        queue.ack(received)
        assert queue.stats().messages == 0
    finally:
        queue.close()
        rabbit_server.drop(config)
    records = [msgspec.json.decode(message.body) for message in messages_of(received)]
    assert [record["table"] for record in records] == ["shop.orders", "shop.orders"]
    assert [record["data"]["number"] for record in records] == [17, 18]

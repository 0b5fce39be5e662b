"""A connection to RabbitMQ with one channel, kept up by a thread of its own.

The thread runs the client's loop, so heartbeats go on whatever the rest of the process does; it connects, prepares
the channel, and does both again, with growing pauses, once the connection is lost. Only this thread touches the
client: others have it do something with `submit`.
"""

from __future__ import annotations

import contextlib
import logging
import random
import ssl
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Protocol

import pika
from pika.adapters.select_connection import IOLoop, SelectConnection

from catchment.errors import CatchmentError, Retry, StorageError
from catchment.log import get_log
from catchment.queues.rabbitmq_config import RabbitMQConfig
from catchment.queues.rabbitmq_errors import explained

_log = get_log()
logging.getLogger("pika").setLevel(logging.CRITICAL)  # it logs what it raises as well; we say it in our words

CONNECT_TIMEOUT_S = 10.0
_CLOSE_S = 5.0
_READ_BYTES = 32_768
"""At a time from the socket. The client's own 4 KiB have it read, and join, a pack in many pieces."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 10.0
_UNLIMITED_SINCE = 4
"""Since this version a quorum queue drops what was delivered twenty times, unless it was declared otherwise."""
_limited: set[tuple[str, str]] = set()
"""Address and name of queues that an older broker made, which no declaration can rid of that limit."""

Steps = Generator[Callable[..., object], Any, None]
"""Calls of the channel that take a `callback`: each is made once the one before is answered, with its answer."""


class User(Protocol):
    """Who works with the channel. Everything is called in the link's thread."""

    def prepare(self, channel: Any) -> Steps:
        """What the channel needs first; once it is done the link is up."""

    def lost(self, error: CatchmentError) -> None:
        """The channel is gone, or did not come up."""


class Link:
    """Up from `start` to `close`, as far as the broker allows."""

    def __init__(self, config: RabbitMQConfig, folder: Path, user: User, name: str) -> None:
        self._config = config
        self._folder = folder
        self._user = user
        self._name = name
        self._lock = threading.Lock()
        self._loop: IOLoop | None = None
        self._connection: SelectConnection | None = None
        self._closing = threading.Event()
        self._up = threading.Event()
        self._error: CatchmentError | None = None
        self._given_up: CatchmentError | None = None
        self._was_up = False
        self._blocked = False
        self._thread = threading.Thread(target=self._run, name=f"rabbitmq-{name}", daemon=True)

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    @property
    def is_up(self) -> bool:
        """Whether the channel is ready."""
        return self._up.is_set()

    @property
    def trouble(self) -> CatchmentError | None:
        """Why it is not up, or takes nothing; None while all is well, and before the first try has ended."""
        if self._blocked:
            return Retry(f"{self._config.place}: it takes nothing in: its disk or memory is low", "rabbitmqctl status")
        return None if self.is_up else self._error

    def wait(self, seconds: float) -> bool:
        """Until it is up, or cannot be; whether it is up."""
        give_up_s = time.monotonic() + seconds
        while not self._up.wait(min(0.05, max(0.0, give_up_s - time.monotonic()))):
            if isinstance(self._error, StorageError) or time.monotonic() >= give_up_s or self._closing.is_set():
                return self.is_up
        return True

    def submit(self, work: Callable[[], object]) -> bool:
        """Have it done in the link's thread, soon; False while there is no connection."""
        with self._lock:
            if self._loop is None:
                return False
            self._loop.add_callback_threadsafe(work)
            return True

    def later(self, seconds: float, work: Callable[[], object]) -> None:
        """Have it done after so many seconds, if the connection lasts so long. In the link's thread."""
        if self._loop is not None:
            self._loop.call_later(seconds, work)

    def give_up(self, error: CatchmentError) -> None:
        """Close this connection and make another. In the link's thread."""
        self._given_up = error
        if self._connection is not None and self._connection.is_open:
            self._connection.close()

    def close(self) -> None:
        """In order where the broker answers. Twice does nothing."""
        self._closing.set()
        self.submit(self._close_now)
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(_CLOSE_S)
            if self._thread.is_alive():  # the broker says nothing: leave without its answer
                self.submit(self._stop_loop)
                self._thread.join(_CLOSE_S)

    # ---- in the link's thread ---------------------------------------------------------

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._closing.is_set():
            self._was_up = False
            error = self._once()
            self._up.clear()
            self._blocked = False
            if self._closing.is_set():
                break
            self._said(error)
            self._user.lost(error)
            pause_s = _FIRST_PAUSE_S if self._was_up else min(2 * pause_s, _LONGEST_PAUSE_S)
            self._closing.wait(pause_s * random.uniform(0.5, 1.5))  # noqa: S311 - so that not all come at once
        self._user.lost(Retry(f"{self._config.place}: the queue has been closed in this process"))

    def _said(self, error: CatchmentError) -> None:
        before, self._error = self._error, error
        if before is None or before.message != error.message:
            what = "RabbitMQ is away; connecting again"
            if isinstance(error, StorageError):
                what = "RabbitMQ refuses; it is asked again"
            _log.warning(what, link=self._name, exc=error)

    def _once(self) -> CatchmentError:
        """Connect, and work until the connection ends; why it did."""
        loop = IOLoop()
        ended: list[BaseException] = []

        def end(_: Any, error: BaseException) -> None:
            ended.append(error)
            loop.stop()

        try:
            parameters = parameters_of(self._config, self._folder, self._name)
            self._connection = SelectConnection(parameters, self._opened, end, end, custom_ioloop=loop)
            with self._lock:
                self._loop = loop
            if self._closing.is_set():
                return Retry("closed")
            loop.start()
        except Exception as error:  # of the client, or of a callback: a new connection is a new beginning
            if not isinstance(error, CatchmentError | OSError | pika.exceptions.AMQPError):
                _log.error("RabbitMQ's connection failed in an unforeseen way", link=self._name, exc=error)
            ended.append(error)
        finally:
            with self._lock:
                self._loop = None
            self._drop(loop)
        reason = ended[0] if ended else Retry(f"{self._config.place}: the connection was left")
        given_up, self._given_up = self._given_up, None
        return given_up or explained(reason, self._config)

    def _drop(self, loop: IOLoop) -> None:
        connection, self._connection = self._connection, None
        # A loop that was left in the middle closes nothing itself, and the client offers no other way.
        left = getattr(getattr(connection, "_transport", None), "_sock", None)
        if left is not None:
            left.close()
        with contextlib.suppress(Exception):
            loop.close()

    def _opened(self, connection: SelectConnection) -> None:
        transport = getattr(connection, "_transport", None)
        if transport is not None:
            transport._MAX_RECV_BYTES = _READ_BYTES  # the client offers no other way
        connection.add_on_connection_blocked_callback(lambda *_: self._set_blocked(True))
        connection.add_on_connection_unblocked_callback(lambda *_: self._set_blocked(False))
        connection.channel(on_open_callback=self._channel_opened)

    def _set_blocked(self, blocked: bool) -> None:
        self._blocked = blocked
        if blocked:
            _log.warning("RabbitMQ takes nothing in: its disk or memory is low", link=self._name)
        else:
            _log.info("RabbitMQ takes messages in again", link=self._name)

    def _channel_opened(self, channel: Any) -> None:
        channel.add_on_close_callback(self._channel_closed)
        run_steps(self._user.prepare(channel), self._is_up)

    def _channel_closed(self, _: Any, error: BaseException) -> None:
        if isinstance(error, pika.exceptions.ChannelClosedByBroker):
            if error.reply_code == 406 and "inequivalent arg 'x-delivery-limit'" in error.reply_text:
                _limited.add((self._config.url, self._config.queue))
                _log.warning(
                    "the queue drops what was delivered too often, since an older RabbitMQ made it",
                    queue=self._config.queue,
                    hint="once it is empty and nothing runs, remove it: it is made anew without that limit",
                )
                error = Retry("the queue is taken as it is")
            self.give_up(explained(error, self._config))

    def _is_up(self) -> None:
        if self._error is not None:
            _log.info("RabbitMQ is back", link=self._name)
        self._error = None
        self._was_up = True
        self._up.set()

    def _close_now(self) -> None:
        connection = self._connection
        if connection is None or connection.is_closed:
            self._stop_loop()
        elif not connection.is_closing:
            connection.close()  # also one that is only being opened: its socket is closed in order

    def _stop_loop(self) -> None:
        if self._loop is not None:
            self._loop.stop()


def run_steps(steps: Steps, done: Callable[[], object]) -> None:
    """Make each call once the one before is answered."""

    def go_on(answer: Any = None) -> None:
        try:
            call = steps.send(answer)
        except StopIteration:
            done()
            return
        call(callback=go_on)

    go_on()


def parameters_of(config: RabbitMQConfig, folder: Path, name: str) -> pika.URLParameters:
    """How the client is to connect. Raises `StorageError` where `ca_file` cannot be read."""
    parameters = pika.URLParameters(config.url)
    if config.is_tls and config.ca_file is not None:
        file = folder.parent / config.ca_file
        try:
            context = ssl.create_default_context(cafile=file)
        except OSError as error:
            said = f"{file} holds no certificates: {error.strerror}"
            raise StorageError(said, f"see ca_file in {config.section}") from error
        parameters.ssl_options = pika.SSLOptions(context, parameters.host)
    elif config.is_tls:
        parameters.ssl_options = pika.SSLOptions(ssl.create_default_context(), parameters.host)
    parameters.heartbeat = config.heartbeat_s
    parameters.blocked_connection_timeout = config.blocked_connection_timeout_s
    parameters.socket_timeout = parameters.stack_timeout = CONNECT_TIMEOUT_S
    parameters.connection_attempts, parameters.retry_delay = 1, 0
    parameters.client_properties = {"connection_name": f"catchment {name}"}
    return parameters


def declare(channel: Any, config: RabbitMQConfig) -> Steps:
    """The exchange, the queue and the binding, where they are not there yet."""

    def exchange(callback: Any) -> object:
        return channel.exchange_declare(config.exchange, "fanout", durable=True, callback=callback)

    def bind(callback: Any) -> object:
        return channel.queue_bind(config.queue, config.exchange, "", callback=callback)

    yield exchange
    yield from declare_queue(channel, config)
    yield bind


def declare_queue(channel: Any, config: RabbitMQConfig) -> Steps:
    """The queue alone, where it is not there yet."""

    def queue(callback: Any) -> object:
        arguments = queue_arguments(channel.connection.server_properties)
        if (config.url, config.queue) in _limited:
            del arguments["x-delivery-limit"]
        return channel.queue_declare(config.queue, durable=True, arguments=arguments, callback=callback)

    yield queue


def queue_arguments(server: dict[str, Any]) -> dict[str, Any]:
    """What the queue is declared with, by the broker's version."""
    arguments: dict[str, Any] = {"x-queue-type": "quorum"}
    said = server.get("version", "")
    version = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    major = version.partition(".")[0]
    if major.isdigit() and int(major) >= _UNLIMITED_SINCE:
        arguments["x-delivery-limit"] = -1
    return arguments

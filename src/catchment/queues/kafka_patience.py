"""Calls of Kafka's client that may never return.

Once in a while, after a broker was killed, librdkafka finds no way back to it though it is up again, and an offset
commit that waits for it is never answered, not even with an error (confluent-kafka-python's issue 1801).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

_T = TypeVar("_T")


class Unanswered(Exception):
    """The call has not returned in time, and perhaps never will."""


def within(limit_s: float, call: Callable[[], _T]) -> _T:
    """What the call returns or raises. Raises `Unanswered` after `limit_s` seconds; the call is left to itself."""
    answer: Future[_T] = Future()

    def ask() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:
            answer.set_exception(error)

    # Not a pool's, whose end would wait for it.
    threading.Thread(target=ask, name="kafka-call", daemon=True).start()
    try:
        return answer.result(limit_s)
    except TimeoutError:
        if answer.done():
            raise  # the call's own
        raise Unanswered from None

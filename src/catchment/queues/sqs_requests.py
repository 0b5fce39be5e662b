"""Requests to Amazon SQS: a client, batches of ten, and what its errors mean."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError, PartialCredentialsError

from catchment.errors import CatchmentError, Retry, StorageError
from catchment.queues.sqs_config import SqsConfig
from catchment.secret import redact

MAX_ENTRIES = 10
MAX_MESSAGE_BYTES = 1024 * 1024
"""Of a message as of a batch, attributes with their names and types included."""
_CONNECT_S, _ANSWER_S = 5.0, 30.0
_LONGEST_PAUSE_S = 2.0

_NOT_ALLOWED = (
    "AccessDenied", "AccessDeniedException", "InvalidClientTokenId", "SignatureDoesNotMatch", "InvalidSecurity",
    "UnrecognizedClientException", "InvalidSignatureException", "MissingAuthenticationToken", "OptInRequired",
    "KMS.AccessDenied", "KmsAccessDenied", "InvalidSignature",
)  # fmt: skip
_NO_QUEUE = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist", "NonExistentQueue", "InvalidAddress")
_TOO_LARGE = (
    "InvalidParameterValue",
    "AWS.SimpleQueueService.BatchRequestTooLong",
    "BatchRequestTooLong",
    "InvalidMessageContents",
)
STALE = (
    "ReceiptHandleIsInvalid",
    "MessageNotInflight",
    "AWS.SimpleQueueService.MessageNotInflight",
    "InvalidParameterValue",
)
"""What the lease of a message that is gone is refused with."""
OVER_LIMIT = ("OverLimit", "AWS.SimpleQueueService.OverLimit")

Entry = dict[str, Any]


class Requests:
    """The requests that one queue's publisher and consumer make. Thread-safe."""

    def __init__(self, config: SqsConfig) -> None:
        self._config = config
        session = boto3.session.Session()
        try:
            self._client = session.client(
                "sqs",
                region_name=config.region_name(),
                endpoint_url=config.endpoint,
                aws_access_key_id=config.access_key_id,
                aws_secret_access_key=config.secret_access_key,
                config=Config(
                    connect_timeout=_CONNECT_S,
                    read_timeout=_ANSWER_S,
                    retries={"mode": "standard", "total_max_attempts": 2},
                    max_pool_connections=config.connections + 2,
                    parameter_validation=False,
                ),
            )
        except (BotoCoreError, ValueError) as error:
            raise self._explained(error, "reach") from error
        self._pool = ThreadPoolExecutor(config.connections, "sqs")

    def one(self, doing: str, operation: str, **parameters: Any) -> dict[str, Any]:
        """One request. Raises `Retry`, `StorageError`."""
        try:
            answer: dict[str, Any] = getattr(self._client, operation)(QueueUrl=self._config.queue_url, **parameters)
        except (BotoCoreError, ClientError) as error:
            raise self._explained(error, doing) from error
        return answer

    def at_once(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        """What each returns, several being made at a time. Raises what the first of them that failed has raised, once
        all have ended."""
        if len(calls) == 1:
            return [calls[0]()]
        return [made.result() for made in [self._pool.submit(call) for call in calls]]

    def all_of(
        self, doing: str, operation: str, entries: Sequence[Entry], give_up_s: float, stale: Sequence[str] = ()
    ) -> list[Entry]:
        """Batches of ten until all entries are through; those that were refused with a code of `stale`. Raises `Retry`
        where some still fail at that moment (monotonic), else `StorageError`."""
        refused: list[Entry] = []
        pause_s = 0.05
        while entries:
            batches = [entries[start : start + MAX_ENTRIES] for start in range(0, len(entries), MAX_ENTRIES)]
            calls = [partial(self._batch, doing, operation, some, stale) for some in batches]
            failed: list[tuple[Entry, CatchmentError]] = []
            for gone, some in self.at_once(calls):
                refused += gone
                failed += some
            lasting = next((error for _, error in failed if not isinstance(error, Retry)), None)
            if lasting is not None or (failed and time.monotonic() >= give_up_s):
                raise lasting or failed[0][1]
            entries = [entry for entry, _ in failed]
            if entries:
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        return refused

    def _batch(
        self, doing: str, operation: str, entries: Sequence[Entry], stale: Sequence[str]
    ) -> tuple[list[Entry], list[tuple[Entry, CatchmentError]]]:
        """One request of at most ten: those that were refused as stale, and those that failed otherwise."""
        named = {str(at): entry for at, entry in enumerate(entries)}
        try:
            answer = self.one(doing, operation, Entries=[{"Id": name, **entry} for name, entry in named.items()])
        except Retry as error:
            return [], [(entry, error) for entry in entries]
        gone, failed = [], []
        for each in answer.get("Failed", []):
            entry, code = named[each["Id"]], each["Code"]
            if code in stale:
                gone.append(entry)
            else:
                failed.append((entry, self.refusal(doing, code, each.get("Message") or "")))
        return gone, failed

    def _explained(self, error: Exception, doing: str) -> CatchmentError:
        if isinstance(error, ClientError):
            told = error.response.get("Error", {})
            return self.refusal(doing, told.get("Code", ""), told.get("Message", ""))
        words = f"cannot {doing} {self._config.queue_url}: {redact(' '.join(str(error).split()))[:300]}"
        if isinstance(error, NoCredentialsError | PartialCredentialsError):
            return StorageError(words, "credentials as everywhere at AWS: docs/how-to/sqs.md")
        if isinstance(error, NoRegionError | ValueError):
            return StorageError(words, f'region = "…" under {self._config.section}, or AWS_REGION in the environment')
        return Retry(words, "see that the endpoint can be reached and the region is right: catchment doctor")

    def refusal(self, doing: str, code: str, words: str) -> CatchmentError:
        """The error that a refusal with this code means."""
        said = f"cannot {doing} {self._config.queue_url}: {redact(f'{code}: {words}')[:300]}"
        if code in _NOT_ALLOWED:
            return StorageError(said, "credentials that may use the queue: docs/how-to/sqs.md")
        if code in _NO_QUEUE:
            return StorageError(said, f"make the queue, or name another as queue_url in {self._config.section}")
        if code in _TOO_LARGE:
            return StorageError(said, "the queue's MaximumMessageSize must be 1048576: docs/how-to/sqs.md")
        return Retry(said, "the same may work in a while: catchment doctor")

    def close(self) -> None:
        """Once nothing is under way."""
        self._pool.shutdown(wait=True)
        self._client.close()


def by_size(entries: Iterable[tuple[Entry, int]], most_bytes: int) -> Iterator[list[Entry]]:
    """Batches of at most ten entries and so many bytes; one that is larger goes alone."""
    batch: list[Entry] = []
    size = 0
    for entry, its_bytes in entries:
        if batch and (len(batch) == MAX_ENTRIES or size + its_bytes > most_bytes):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += its_bytes
    if batch:
        yield batch

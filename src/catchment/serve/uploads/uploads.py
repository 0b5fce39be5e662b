"""All uploads of a process."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from catchment.errors import CatchmentError, Retry, UsageError
from catchment.log import get_log
from catchment.record import now
from catchment.send.look import Choices
from catchment.serve.config import UploadConfig
from catchment.serve.uploads.filing import Filing
from catchment.serve.uploads.spool import Spool
from catchment.serve.uploads.upload import Going, Upload, format_of, shown_name
from catchment.warehouses import Warehouse

KEPT_S = 3_600.0
"""How long a file waits for somebody to go on with it."""
AT_ONCE = 4
"""How many are looked at or filed at the same time; others wait."""
KEPT_OF_ONE = 4
"""How many of one person's are kept; the one that has waited longest goes for another."""
_TIDY_EVERY_S = 30.0
_log = get_log("serve")


class Uploads:
    """They are in memory, their files on disk; both end with the process. `open` before anything else."""

    def __init__(self, folder: Path, config: UploadConfig, filing: Filing, warehouse: Callable[[], Warehouse]) -> None:
        self.config = config
        self.filing = filing
        self.warehouse = warehouse
        self._spool = Spool(folder)
        self._known: dict[str, Upload] = {}
        self._arriving: Counter[str] = Counter()
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="upload")
        self._waiting = ThreadPoolExecutor(AT_ONCE * 4, thread_name_prefix="upload-load")
        self._tidying: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Remove what was left behind, and begin to forget what is old."""
        try:
            self._spool.open()
        except CatchmentError as error:
            _log.error("uploads of earlier processes cannot be removed", exc=error)
        self._tidying = asyncio.create_task(self._tidy_always())

    def close(self) -> None:
        """End what runs; what is not filed by now is gone."""
        if self._tidying is not None:
            self._tidying.cancel()
        for upload in self._known.values():
            upload.end()
        self._threads.shutdown()
        self._waiting.shutdown()
        self._spool.close()

    async def receive(self, user_id: str, name: str, pieces: AsyncIterator[bytes]) -> Upload:
        """A new one. Raises `UsageError` for one that is too large or of no format that is taken, `Retry` while
        many of this person's arrive, `StorageError`."""
        if self._arriving[user_id] >= KEPT_OF_ONE:
            raise Retry(f"{KEPT_OF_ONE} of your files are on their way already", "wait for one to arrive")
        self._make_room(user_id, KEPT_OF_ONE - 1)
        self._arriving[user_id] += 1
        try:
            source, folder = await self._spool.receive(pieces, shown_name(name), self.config.max_bytes)
        finally:
            self._arriving[user_id] -= 1
        upload = Upload(secrets.token_urlsafe(16), user_id, source, folder, "csv")
        try:
            upload.format = format_of(source)
        except UsageError:
            upload.end()
            raise
        self._known[upload.id] = upload
        self._make_room(user_id, KEPT_OF_ONE)
        return upload

    def get(self, user_id: str, upload_id: str) -> Upload | None:
        """This person's one of that id."""
        upload = self._known.get(upload_id)
        if upload is None or upload.user_id != user_id:
            return None
        upload.touched_s = time.monotonic()
        return upload

    def look(self, upload: Upload, choices: Choices) -> None:
        """Begin to look at it. Raises `UsageError` while something else is done with it."""
        upload.begin("looking")
        self._threads.submit(self._safely, upload, lambda: upload.look(choices, self.config.max_rows))

    def file(self, upload: Upload, going: Going, then: Callable[[Upload], None]) -> None:
        """Begin to file it; `then` is called in a thread when that has ended, loaded or not. Raises as `look` does."""
        self.check_may_go(upload)
        upload.begin("filing")
        began = now()

        def work() -> None:
            try:
                self._safely(
                    upload, lambda: upload.file(going, self.filing, self.warehouse, began, self.config.max_rows)
                )
            finally:
                then(upload)

        self._waiting.submit(work)

    def check_may_go(self, upload: Upload) -> None:
        """Raise `UsageError` unless it was looked at, and is not filed yet."""
        if upload.found is None or upload.state != "looked at":
            raise UsageError(f"{upload.source.name} is being read or filed already", "wait until that is done")

    def discard(self, upload: Upload) -> None:
        """End what runs with it; what is queued by then stays queued. Its file is gone."""
        upload.end()
        if upload.going is None:
            self._known.pop(upload.id, None)

    def _safely(self, upload: Upload, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # a thread's error would be nobody's
            _log.error("an upload failed", file=upload.source.name, exc=error)
            upload.error = CatchmentError("that did not work; the log of `serve` says why")
            upload.state = "failed"
            upload.end()

    def _make_room(self, user_id: str, most: int) -> None:
        own = [each for each in self._known.values() if each.user_id == user_id and not each.is_going]
        for upload in sorted(own, key=lambda each: each.touched_s)[: max(0, len(own) - most)]:
            self._forget(upload)

    def _forget(self, upload: Upload) -> None:
        upload.end()
        self._known.pop(upload.id, None)

    async def _tidy_always(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            while True:
                await asyncio.sleep(_TIDY_EVERY_S)
                await asyncio.to_thread(self.tidy)

    def tidy(self, kept_s: float = KEPT_S) -> None:
        """Forget those that nobody has gone on with for so long."""
        before_s = time.monotonic() - kept_s
        for upload in list(self._known.values()):
            if not upload.is_busy and upload.touched_s <= before_s:
                self._forget(upload)

"""Who runs in a project: one small file per service in `.catchment/services/`, and the lock that proves it.

A file says what a service was when it last wrote; only its lock, held by the process itself and let go by the
kernel however the process ends, says that it lives. A pid proves nothing, for the system gives it out again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import msgspec

from catchment.errors import StorageError

State = Literal["starting", "ready", "draining", "restarting", "stopped", "died"]
"""`restarting`: it died, and `up` will start it again. `died`: its process ended without saying so."""

SERVICES: Final = "services"
UP_LOCK: Final = "up.lock"
ALIVE: Final = frozenset({"starting", "ready", "draining"})

_PROBE_S = 0.2
"""Whoever claims a lock that another holds tries again for this long."""
_READERS_S = 10.0
"""A reader shares a lock for a moment to see whether it is free, and for longer where the system lets it wait then."""


class ServiceState(msgspec.Struct, frozen=True, omit_defaults=False):
    """One service of the project, running or not. `pid` is None when no process runs."""

    name: str
    pid: int | None
    state: State
    address: str | None = None
    metrics_address: str | None = None
    started_at: datetime | None = None
    waits_for: str = ""
    """Why it is not ready, where it says so."""

    @property
    def alive(self) -> bool:
        """A process runs it."""
        return self.state in ALIVE


class Presence:
    """A running service's entry in its project: made by `claim`, kept up by `update`, ended by `close`."""

    def __init__(self, folder: Path, service: str, lock: int, *, spare: bool) -> None:
        self._path = folder / f"{service}.json"
        self._lock: int | None = lock
        self._spare = spare
        self._state = ServiceState(service, os.getpid(), "starting", started_at=datetime.now(UTC))
        with contextlib.suppress(StorageError):  # a full disk, which `update` tells of
            _write(self._path, self._state)

    @classmethod
    def claim(cls, runtime: Path, service: str) -> Presence:
        """Enter this process as `service`; as `service-2` and so on where others of the same name run already.

        Raises `StorageError` when the folder cannot be written to.
        """
        folder = _folder(runtime)
        name, number = service, 1
        while (lock := _try_lock(folder / f"{name}.lock", _PROBE_S)) is None:
            number += 1
            name = f"{service}-{number}"
        return cls(folder, name, lock, spare=number > 1)

    def update(
        self, state: State, *, address: str | None = None, metrics_address: str | None = None, waits_for: str = ""
    ) -> None:
        """Say what has become of the service; an address once given stays."""
        if self._lock is None:
            return
        self._state = ServiceState(
            self._state.name,
            self._state.pid,
            state,
            address or self._state.address,
            metrics_address or self._state.metrics_address,
            self._state.started_at,
            waits_for,
        )
        _write(self._path, self._state)

    @property
    def waits_for(self) -> str:
        """What was said last of why it is not ready."""
        return self._state.waits_for

    def close(self) -> None:
        """Say that the service has stopped, and let go of its name. Twice does nothing."""
        if self._lock is None:
            return
        with contextlib.suppress(StorageError):  # a full disk: the lock let go says it as well
            self.update("stopped")
        if self._spare:  # one more of a service that others still run: nobody asks for it once it is gone
            self._path.unlink(missing_ok=True)
        os.close(self._lock)
        self._lock = None


def services(runtime: Path) -> list[ServiceState]:
    """Every service of the project that runs or ever ran, by name, each as it truly is at this moment."""
    supervised = holder(runtime / UP_LOCK) is not None
    found = (_read(path) for path in sorted((runtime / SERVICES).glob("*.json")))
    return [_true_state(runtime, state, supervised) for state in found if state is not None]


def service(runtime: Path, name: str) -> ServiceState | None:
    """The one service as it truly is at this moment; None if it never ran."""
    state = _read(runtime / SERVICES / f"{name}.json")
    return state and _true_state(runtime, state, holder(runtime / UP_LOCK) is not None)


def note(runtime: Path, name: str, state: Literal["restarting", "stopped"]) -> None:
    """What `up` says of a service whose process is gone."""
    path = _folder(runtime) / f"{name}.json"
    _write(path, ServiceState(name, None, state))


@contextlib.contextmanager
def hold(path: Path) -> Iterator[int | None]:
    """Hold the lock at `path` until the block is left, with our pid in it.

    Yields None when it is ours, else the pid of who holds it (0 if unknown). Raises `StorageError`.
    """
    _make(path.parent)
    lock = _try_lock(path, _PROBE_S)
    if lock is None:
        yield holder(path) or 0
        return
    try:
        with contextlib.suppress(OSError):  # a full disk: the lock counts, not who holds it
            os.ftruncate(lock, 0)
            os.pwrite(lock, str(os.getpid()).encode(), 0)
        yield None
    finally:
        os.close(lock)


def holder(path: Path) -> int | None:
    """The pid of the process that holds the lock at `path` (0 if it wrote none); None when nobody does."""
    try:
        probe = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}", "check who owns the folder") from error
    try:
        fcntl.flock(probe, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(probe, 20, 0)
        return int(text) if text.isdigit() else 0
    finally:
        os.close(probe)
    return None


def _true_state(runtime: Path, state: ServiceState, supervised: bool) -> ServiceState:
    if holder(runtime / SERVICES / f"{state.name}.lock") is not None:
        # A process that holds its lock is about to write over what `up` noted about the one before it.
        return state if state.alive else ServiceState(state.name, None, "starting")
    if state.state == "stopped" or (state.state == "restarting" and supervised):
        return state
    return ServiceState(state.name, None, "died", started_at=state.started_at)


def _folder(runtime: Path) -> Path:
    return _make(runtime / SERVICES)


def _make(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make the folder {folder}: {error.strerror}", "check who owns it") from error
    return folder


def _try_lock(path: Path, patience_s: float) -> int | None:
    """The locked file's descriptor, which no child process inherits; None when another holds it."""
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}", "check who owns the folder") from error
    began_s = time.monotonic()
    while not _locks(lock, fcntl.LOCK_EX):
        is_readers_alone = _locks(lock, fcntl.LOCK_SH)
        fcntl.flock(lock, fcntl.LOCK_UN)
        if time.monotonic() - began_s >= (_READERS_S if is_readers_alone else patience_s):
            os.close(lock)
            return None
        time.sleep(0.005)
    return lock


def _locks(fd: int, how: int) -> bool:
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(path: Path, state: ServiceState) -> None:
    """Whole or not at all to every reader. Not flushed to the disk: after a power cut nothing runs anyway."""
    temporary = path.with_suffix(".tmp")
    try:
        temporary.write_bytes(msgspec.json.encode(state))
        temporary.replace(path)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}", "free some space, or check the owner") from error


def _read(path: Path) -> ServiceState | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=ServiceState)
    except FileNotFoundError:
        return None
    except msgspec.ValidationError:  # of another version of Catchment: it runs or not, more we can't say
        return ServiceState(path.stem, None, "died")
    except msgspec.DecodeError:  # cut short by a power cut
        return ServiceState(path.stem, None, "died")

"""Confluent's wire format: a zero byte, the number of a schema in four bytes, then a value of that schema; and the
registry that tells what the schema is, each asked for once."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from catchment.errors import Malformed, Retry, StorageError, UsageError
from catchment.sources.json_text import decoded

_PREFIX_BYTES = 5
_MAX_ANSWER_BYTES = 16 * 1024 * 1024
_UNKNOWN_FOR_S = 30.0
"""So long a number that the registry did not know is not asked for again: garbage must not flood it."""
_MAX_UNKNOWN = 10_000
_ACCEPT = "application/vnd.schemaregistry.v1+json, application/json"

Reader = Callable[[bytes], Any]


class Reference(msgspec.Struct, frozen=True):
    """A schema that another one names."""

    name: str
    subject: str
    version: int


class Schema(msgspec.Struct, frozen=True, rename={"kind": "schemaType", "text": "schema"}):
    """A schema as the registry has it."""

    text: str
    kind: str = "AVRO"
    references: list[Reference] = []


_schema = msgspec.json.Decoder(Schema).decode


def is_framed(body: bytes) -> bool:
    """Whether a body is of the wire format."""
    return body[:1] == b"\x00"


class SchemaRegistry:
    """Asks one registry. Used by one thread. `place` is the section of the project file, for errors' hints."""

    def __init__(
        self,
        url: str,
        place: str,
        *,
        username: str | None = None,
        password: str | None = None,
        ca_file: Path | None = None,
        timeout_s: float = 10.0,
    ) -> None:
        self._url = url.rstrip("/")
        self._place = place
        self._timeout_s = timeout_s
        self._headers = {"Accept": _ACCEPT}
        if username is not None:
            token = base64.b64encode(f"{username}:{password or ''}".encode()).decode()
            self._headers["Authorization"] = f"Basic {token}"
        handlers: list[urllib.request.BaseHandler] = []
        if ca_file is not None:
            try:
                context = ssl.create_default_context(cafile=ca_file)
            except OSError as error:
                said = f"{ca_file} holds no certificates: {error.strerror}"
                raise UsageError(said, f"see registry.ca_file in {place}") from error
            handlers.append(urllib.request.HTTPSHandler(context=context))
        self._opener = urllib.request.build_opener(*handlers)
        self._readers: dict[int, Reader] = {}
        self._unknown: dict[int, tuple[float, Malformed]] = {}
        """Until when (monotonic) these numbers are not asked for again, and why."""

    def decode(self, body: bytes) -> Any:
        """The value within a framed body, of types that JSON has. Raises `Malformed` for one that no schema fits,
        `Retry` or `StorageError` while the registry does not answer."""
        if len(body) < _PREFIX_BYTES:
            raise Malformed("not-decodable", "shorter than the number of its schema")
        number = int.from_bytes(body[1:_PREFIX_BYTES])
        reader = self._readers.get(number)
        if reader is None:
            reader = self._readers[number] = self._asked(number)
        return reader(body[_PREFIX_BYTES:])

    def _asked(self, number: int) -> Reader:
        until_s, before = self._unknown.get(number, (0.0, None))
        if before is not None and until_s > time.monotonic():
            raise before
        try:
            return self._reader(number)
        except Malformed as error:
            if len(self._unknown) >= _MAX_UNKNOWN:
                self._unknown.clear()
            self._unknown[number] = time.monotonic() + _UNKNOWN_FOR_S, error
            raise

    def _reader(self, number: int) -> Reader:
        schema = self._get(f"/schemas/ids/{number}")
        if schema is None:
            raise Malformed("unknown-schema", f"the registry at {self._url} has no schema {number}")
        if schema.kind == "JSON":
            return decoded
        if schema.kind != "AVRO":
            return _refusing(f"schema {number} is of the type {schema.kind}: Avro and JSON are known")
        from catchment.sources.avro import reader_of

        return reader_of(self._with_references(schema), self._place)

    def _with_references(self, schema: Schema, seen: frozenset[Reference] = frozenset()) -> list[str]:
        """The texts of a schema and of all that it names, the named ones first."""
        texts: list[str] = []
        for reference in schema.references:
            if reference in seen:
                continue
            found = self._get(f"/subjects/{quote(reference.subject, safe='')}/versions/{reference.version}")
            if found is None:
                raise Malformed(
                    "unknown-schema", f"the registry has no version {reference.version} of {reference.subject}"
                )
            texts += [each for each in self._with_references(found, seen | {reference}) if each not in texts]
        return [*texts, schema.text]

    def _get(self, path: str) -> Schema | None:
        """A schema; None where the registry has none. Raises `Retry`, `StorageError`."""
        request = urllib.request.Request(f"{self._url}{path}", headers=self._headers)  # noqa: S310 - http(s) is checked
        try:
            with self._opener.open(request, timeout=self._timeout_s) as answer:
                return _schema(answer.read(_MAX_ANSWER_BYTES))
        except urllib.error.HTTPError as error:
            with error:
                self._refused(error)
                return None
        except (OSError, http.client.HTTPException, msgspec.DecodeError) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise StorageError(
                    f"the schema registry at {self._url}: its certificate is not trusted: {reason.verify_message}",
                    f"registry.ca_file = the certificates of whoever signed it, in {self._place}",
                ) from error
            raise Retry(
                f"the schema registry at {self._url} does not answer: {reason}; what is heard waits with its broker",
                "look at the network, and at the registry",
            ) from error

    def _refused(self, error: urllib.error.HTTPError) -> None:
        """Return where it has no such schema; raise for all else."""
        said = f"the schema registry at {self._url} answers {error.code} {error.reason}"
        if error.code == 404:
            try:
                code = json.loads(error.read(10_000)).get("error_code", 0)
            except (ValueError, AttributeError, OSError):
                code = 0
            if code in {40401, 40402, 40403}:
                return
            raise StorageError(f"{said}: it is no schema registry", f"see registry.url in {self._place}")
        if error.code in {401, 403}:
            raise StorageError(said, f"see registry.username and registry.password in {self._place}")
        raise Retry(f"{said}; what is heard waits with its broker", "look at the registry")


def _refusing(detail: str) -> Reader:
    def read(body: bytes) -> Any:
        raise Malformed("not-decodable", detail)

    return read

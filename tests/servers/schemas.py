"""A schema registry as Confluent's answers over HTTP: schemas by number, and by subject and version."""

from __future__ import annotations

import base64
import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.servers.loopback import JsonHandler, answering_with


class Registry:
    """What it knows, and what it was asked."""

    def __init__(self) -> None:
        self.address = ""
        self.schemas: dict[int, dict[str, Any]] = {}
        self.subjects: dict[tuple[str, int], int] = {}
        self.asked: list[str] = []
        self.failing = 0
        """A status that everything is answered with, in place of an answer."""
        self.user: tuple[str, str] | None = None

    def add(self, schema: Any, kind: str = "AVRO", subject: str = "", references: list[Any] | None = None) -> int:
        """A schema's number."""
        number = len(self.schemas) + 1
        self.schemas[number] = {
            "schema": schema if isinstance(schema, str) else json.dumps(schema),
            **({"schemaType": kind} if kind != "AVRO" else {}),
            **({"references": references} if references else {}),
        }
        if subject:
            self.subjects[subject, 1] = number
        return number

    def answer(self, path: str, authorization: str | None) -> tuple[int, dict[str, Any]]:
        self.asked.append(path)
        if self.failing:
            return self.failing, {"error_code": self.failing, "message": "no"}
        if self.user is not None:
            expected = base64.b64encode(":".join(self.user).encode()).decode()
            if authorization != f"Basic {expected}":
                return 401, {"error_code": 401, "message": "Unauthorized"}
        if found := re.fullmatch(r"/schemas/ids/(\d+)", path):
            schema = self.schemas.get(int(found[1]))
            return (200, schema) if schema else (404, {"error_code": 40403, "message": "Schema not found"})
        if found := re.fullmatch(r"/subjects/([^/]+)/versions/(\d+)", path):
            number = self.subjects.get((found[1], int(found[2])))
            if number is None:
                return 404, {"error_code": 40401, "message": "Subject not found"}
            return 200, {"subject": found[1], "version": int(found[2]), "id": number, **self.schemas[number]}
        return 404, {"error_code": 404, "message": "HTTP 404 Not Found"}


@contextlib.contextmanager
def registering(certificate: tuple[Path, Path] | None = None) -> Iterator[Registry]:
    """A registry that runs; over TLS with a certificate and its key."""
    registry = Registry()

    class Handler(JsonHandler):
        def do_GET(self) -> None:  # noqa: N802 (its name in the base class)
            status, said = registry.answer(self.path, self.headers.get("Authorization"))
            self.say(status, said, "application/vnd.schemaregistry.v1+json")

    with answering_with(Handler, certificate) as registry.address:
        yield registry


def framed(number: int, body: bytes) -> bytes:
    """A body in the wire format."""
    return b"\x00" + number.to_bytes(4) + body

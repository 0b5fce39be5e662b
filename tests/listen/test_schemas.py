from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import fastavro
import pytest

from catchment.errors import Retry, StorageError
from catchment.listen.transform import Transformation
from catchment.record import DEFAULT_WINDOW
from tests.listen.hearing import heard, reason_of, records, settings
from tests.servers.schemas import Registry, framed, registering

ORDER = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "n", "type": "long"},
        {"name": "total", "type": {"type": "bytes", "logicalType": "decimal", "precision": 30, "scale": 4}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "exactly_at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "local", "type": {"type": "long", "logicalType": "local-timestamp-micros"}},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "hour", "type": {"type": "int", "logicalType": "time-millis"}},
        {"name": "rate", "type": "double"},
        {"name": "raw", "type": "bytes"},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["NEW", "PAID"]}},
        {"name": "note", "type": ["null", "string"], "default": None},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        {"name": "counts", "type": {"type": "map", "values": "int"}},
    ],
}
VALUE = {
    "id": UUID("0192f0c1-8a3c-7c11-9b1a-0242ac120002"),
    "n": 2**53 + 1,
    "total": Decimal("12345678901234567890.1000"),
    "at": datetime(2026, 11, 23, 10, 0, 0, 123000, UTC),
    "exactly_at": datetime(2026, 11, 23, 10, 0, 0, 123456, UTC),
    "local": datetime(2026, 11, 23, 10, 0, 0, 5),
    "day": date(2026, 11, 23),
    "hour": time(10, 30),
    "rate": float("nan"),
    "raw": b"\x00\xff",
    "kind": "PAID",
    "note": None,
    "tags": ["a", "b"],
    "counts": {"x": 1},
}
FILED = {
    "id": "0192f0c1-8a3c-7c11-9b1a-0242ac120002",
    "n": 2**53 + 1,
    "total": "12345678901234567890.1000",
    "at": "2026-11-23T10:00:00.123000Z",
    "exactly_at": "2026-11-23T10:00:00.123456Z",
    "local": "2026-11-23T10:00:00.000005",
    "day": "2026-11-23",
    "hour": "10:30:00",
    "rate": "nan",
    "raw": "AP8=",
    "kind": "PAID",
    "note": None,
    "tags": ["a", "b"],
    "counts": {"x": 1},
}


@pytest.fixture
def registry() -> Iterator[Registry]:
    with registering() as running:
        yield running


def avro(schema: Any, value: Any) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), value)
    return stream.getvalue()


def listening(registry: Registry, **more: Any) -> Transformation:
    config = settings(registry={"url": registry.address, **more})
    return Transformation("chats", config, Path(), DEFAULT_WINDOW)


def test_avro_is_filed_in_forms_that_lose_nothing(registry: Registry) -> None:
    number = registry.add(ORDER)
    transformation = listening(registry)
    message = heard(framed(number, avro(ORDER, VALUE)))
    (record,) = records(transformation.outcome(message))
    assert record["data"] == FILED
    (record,) = records(transformation.outcome(message))
    assert registry.asked == [f"/schemas/ids/{number}"], "each schema is asked for once"


def test_plain_json_and_json_of_a_schema_come_beside_it(registry: Registry) -> None:
    number = registry.add({"type": "object"}, "JSON")
    transformation = listening(registry)
    for body in (b'{"a":1}', framed(number, b'{"a":1}')):
        (record,) = records(transformation.outcome(heard(body)))
        assert record["data"] == {"a": 1}
    assert reason_of(transformation.outcome(heard(framed(number, b'{"a":1,"a":2}')))) == "duplicate-key"


def test_a_schema_that_names_others(registry: Registry) -> None:
    city = {"type": "record", "name": "City", "fields": [{"name": "zip", "type": "string"}]}
    address = {"type": "record", "name": "Address", "fields": [{"name": "city", "type": "City"}]}
    person = {"type": "record", "name": "Person", "fields": [{"name": "home", "type": "Address"}]}
    registry.add(city, subject="city")
    registry.add(address, subject="address", references=[{"name": "City", "subject": "city", "version": 1}])
    number = registry.add(person, references=[{"name": "Address", "subject": "address", "version": 1}])
    body = b"\x08" + b"1234"  # a text of four bytes, within two records
    (record,) = records(listening(registry).outcome(heard(framed(number, body))))
    assert record["data"] == {"home": {"city": {"zip": "1234"}}}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\x00\x00", "not-decodable"),
        (framed(99, b"x"), "unknown-schema"),
        (framed(1, b"\x01"), "not-decodable"),
        (framed(1, avro(ORDER, VALUE) + b"more"), "not-decodable"),
        (framed(2, b"x"), "not-decodable"),
        (framed(3, b"x"), "not-decodable"),
        (framed(4, b"x"), "unknown-schema"),
    ],
)
def test_what_fits_no_schema_is_a_dead_letter(registry: Registry, body: bytes, reason: str) -> None:
    registry.add(ORDER)
    registry.add("syntax = 'proto3';", "PROTOBUF")
    registry.add({"type": "nonsense"})
    registry.add(ORDER, references=[{"name": "A", "subject": "gone", "version": 1}])
    transformation = listening(registry)
    assert reason_of(transformation.outcome(heard(body))) == reason
    assert reason_of(transformation.outcome(heard(body))) == reason
    assert len(registry.asked) <= 2, "garbage does not flood the registry"
    (record,) = records(transformation.outcome(heard(framed(1, avro(ORDER, VALUE)))))
    assert record["data"] == FILED, "and holds up nobody"


def test_a_registry_that_is_away_is_waited_for(registry: Registry) -> None:
    number = registry.add(ORDER)
    transformation = listening(registry)
    message = heard(framed(number, avro(ORDER, VALUE)))
    registry.failing = 503
    with pytest.raises(Retry, match="answers 503"):
        transformation.outcome(message)
    registry.failing = 0
    assert not transformation.outcome(message).is_dead


def test_nobody_there_is_said() -> None:
    with registering() as gone:
        pass
    with pytest.raises(Retry, match=r"does not answer: .*refused"):
        listening(gone).outcome(heard(framed(1, b"x")))


def test_what_is_no_registry_is_no_dead_letter(registry: Registry) -> None:
    transformation = listening(registry, url=f"{registry.address}/elsewhere")
    with pytest.raises(StorageError, match="it is no schema registry"):
        transformation.outcome(heard(framed(1, b"x")))


def test_a_registry_that_asks_for_a_password(registry: Registry) -> None:
    number = registry.add(ORDER)
    registry.user = ("reader", "secret")
    message = heard(framed(number, avro(ORDER, VALUE)))
    with pytest.raises(StorageError, match="answers 401") as raised:
        listening(registry, username="reader", password="wrong").outcome(message)
    assert "wrong" not in str(raised.value)
    assert not listening(registry, username="reader", password="secret").outcome(message).is_dead


def test_over_tls_its_certificate_must_be_trusted(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    with registering((certificate, key)) as registry:
        message = heard(framed(registry.add(ORDER), avro(ORDER, VALUE)))
        with pytest.raises(StorageError, match="its certificate is not trusted"):
            listening(registry).outcome(message)
        assert not listening(registry, ca_file=str(certificate)).outcome(message).is_dead


def test_a_letter_of_avro_is_mended_in_json(registry: Registry) -> None:
    (record,) = records(listening(registry).outcome(heard(json.dumps({"a": 1}).encode())))
    assert record["data"] == {"a": 1}

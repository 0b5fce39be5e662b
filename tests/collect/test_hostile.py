"""Requests that somebody sends on purpose: small ones that would cost much, and odd ones that are right."""

from __future__ import annotations

import base64
import gzip
import tracemalloc

import pytest

from catchment.collect.handler import Handler
from catchment.record import DEAD_LETTERS
from tests.collect.asking import KEY, Asked, ask, handler, post

TRACK = {"type": "track", "event": "Signed Up", "messageId": "m1"}


@pytest.fixture
def collect() -> Handler:
    return handler()


# ---- small requests that would cost much ----------------------------------------------


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/records/app.things"])
@pytest.mark.parametrize("body", [
    b"[" + b"{}," * 1_300_000 + b"{}]",
    b'{"batch":[],"context":{"a":[' + b"[]," * 1_300_000 + b"[]]}}",
], ids=["list", "context"])  # fmt: skip
def test_a_few_compressed_kilobytes_do_not_become_millions_of_objects(
    collect: Handler, path: str, body: bytes
) -> None:
    packed = gzip.compress(body)
    tracemalloc.start()
    try:
        asked = post(collect, path, packed)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert asked.status == 413
    assert [line.table for line in asked.answer.lines] == [DEAD_LETTERS]
    assert peak_bytes < 10 * len(body)


def test_lines_without_anything_on_them_are_bounded_too(collect: Handler) -> None:
    assert post(collect, "/v1/records/app.things", gzip.compress(b"\n" * 4_000_000)).status == 413


@pytest.mark.parametrize(("context_chars", "events"), [(40_000, 1), (10_000, 2_000), (20_000, 400)])
def test_the_context_of_a_batch_is_not_multiplied_without_bound(
    collect: Handler, context_chars: int, events: int
) -> None:
    body = {"batch": [{"type": "page"}] * events, "context": {"text": "x" * context_chars}}
    asked = post(collect, "/v1/batch", body)
    assert asked.status == 413
    assert [letter["reason"] for letter in asked.rows(DEAD_LETTERS)] == ["oversized"]


def test_a_usual_context_is_shared_by_a_large_batch(collect: Handler) -> None:
    calls = [TRACK | {"messageId": str(n)} for n in range(2_500)]
    asked = post(collect, "/v1/batch", {"batch": calls, "context": {"library": {"name": "go", "version": "3.0.0"}}})
    assert (asked.status, asked.answer.events) == (200, 2_500)
    assert {row["context_library_name"] for row in asked.rows("app.tracks")} == {"go"}


def test_records_of_one_request_are_bounded_and_counted() -> None:
    collect = handler(max_batch_events=10, events_per_s=1)

    def send(records: int) -> Asked:
        return post(collect, "/v1/records/app.things", [{"n": n} for n in range(records)])

    assert send(11).status == 413
    assert send(9).status == 200
    assert send(9).status == 429


def test_gzip_in_several_parts_is_read_to_its_end(collect: Handler) -> None:
    parts = [gzip.compress(b'{"n":%d}\n' % n) for n in range(3)]
    asked = post(collect, "/v1/records/app.things", b"".join(parts))
    assert [row["n"] for row in asked.rows("app.things")] == [0, 1, 2]
    assert post(collect, "/v1/records/app.things", parts[0] * 200).status == 413


# ---- odd, and right -------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"{", b"", b'{"a":1}\n{"b"\n', b"[1e999]"])
def test_records_that_cannot_be_read_are_kept(collect: Handler, body: bytes) -> None:
    asked = post(collect, "/v1/records/app.things", body)
    assert asked.status == 400
    [letter] = asked.rows(DEAD_LETTERS)
    assert base64.b64decode(letter["bytes"]) == body


@pytest.mark.parametrize("target", ["http://a/healthz", "HTTPS://a:1/healthz?x=1"])
def test_a_target_may_name_its_host(collect: Handler, target: str) -> None:
    assert ask(collect, "GET", target).status == 200


def test_a_query_without_end_is_refused(collect: Handler) -> None:
    assert ask(collect, "GET", f"/v1/pixel?writeKey={KEY}{'&a=1' * 1_500}").status == 400


def test_head_is_answered_without_a_body_and_files_nothing(collect: Handler) -> None:
    for target in ("/healthz", "/nothing", f"/v1/pixel?writeKey={KEY}&event=E"):
        get, asked = ask(collect, "GET", target), ask(collect, "HEAD", target)
        assert asked.body == b""
        assert asked.headers == get.headers
        assert asked.records == []

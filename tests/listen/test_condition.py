from __future__ import annotations

import pytest

from catchment.listen.condition import condition
from tests.listen.hearing import heard

DATA = {"kind": "chat", "n": 3, "flag": False, "user": {"id": "u1", "my-name": "Ada"}, "tags": ["a", "b"]}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("data.kind == 'chat'", True),
        ('data.kind in ["mail", "chat"]', True),
        ("data.kind not in ('mail',)", True),
        ("data.n > 2 and data.n <= 3", True),
        ("2 < data.n < 3", False),
        ("data.flag or header.test", False),
        ("not header.test", True),
        ("header.tenant == 'acme'", True),
        ("header['tenant'] != 'acme'", False),
        ("data.user.id == 'u1'", True),
        ("data.user['my-name'] == 'Ada'", True),
        ("data.none == None", True),
        ("data.none is not None", False),
        ("data.none > 3", False),
        ("data.kind > 3", False),
        ("'a' in data.tags", True),
        ("'x' in data.none", False),
        ("routing_key == 'message.created'", True),
        ("data.n == -3", False),
        ("data", True),
        ("data.user.id.deeper == 1", False),
    ],
)
def test_conditions(text: str, holds: bool) -> None:
    assert condition(text).holds(DATA, heard(DATA, headers={"tenant": "acme"})) is holds


def test_what_is_no_object_has_no_fields() -> None:
    for data in ([1], "text", 3, None):
        assert condition("data.kind == None").holds(data, heard(b""))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data.kind =", "must be a condition: invalid syntax at character"),
        ("kind == 'chat'", "names kind, which is nothing of a message"),
        ("data.kind.startswith('c')", "data.kind.startswith('c') is more than one knows"),
        ("__import__('os')", "__import__('os') is more than one knows"),
        ("data[0]", "data[0] names nothing"),
        ("data.n + 1 == 2", "data.n + 1 is more than one knows"),
        ("(lambda: 1)()", "is more than one knows"),
        ("'x'.kind", "'x' names nothing"),
        ("header", "names header"),
        ("", "must be a condition"),
    ],
)
def test_what_is_none_is_said_so(text: str, words: str) -> None:
    with pytest.raises(ValueError) as raised:
        condition(text)
    assert words in raised.value.args[0]

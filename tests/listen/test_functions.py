from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from catchment.errors import UsageError
from catchment.listen.functions import fault_of, load_function
from catchment.listen.transform import Outcome, Transformation
from catchment.record import DEFAULT_WINDOW
from tests.listen.hearing import heard, reason_of, records, settings

CHATS = """
import threading

from catchment.listen import Row

SHARED = {"user": {"id": 1}}


def clean(data, message):
    return {**data, "key": message.about["routing_key"], "tenant": message.headers.get("tenant")}


def nothing(data, message):
    return None


def several(data, message):
    for n in range(data["n"]):
        yield {"n": n}


def named(data, message):
    return [Row({"a": 1}, table="chat.first", id="x"), Row({"a": 2})]


def shared(data, message):
    return [SHARED, SHARED]


def raises(data, message):
    return data["none"]["of"]


def leaves(data, message):
    raise SystemExit(3)


def number(data, message):
    return 3


def numbers(data, message):
    return [{"a": 1}, 3]


def no_json(data, message):
    return {"a": object()}


def half(data, message):
    return {"a": "\\ud800"}


def lazy(data, message):
    yield {"a": 1}
    raise KeyError("late")


def wrong_table(data, message):
    return Row({}, table=3)


def wrong_id(data, message):
    return Row({}, id=[1])


def uncopied(data, message):
    return {"a": threading.Lock()}


def endless(data, message):
    found = {}
    found["a"] = found
    return found


def own(data, message):
    return Row({}, table="catchment.corrections")


def text(data, message):
    return {"parts": data.split(" ")}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "listen").mkdir()
    (tmp_path / "listen" / "chats.py").write_text(CHATS)
    return tmp_path


def outcome(root: Path, function: str, body: Any, **written: Any) -> Outcome:
    config = settings(function=f"chats:{function}", **written)
    return Transformation("chats", config, root, DEFAULT_WINDOW).outcome(heard(body, headers={"tenant": "acme"}))


def test_a_function_makes_the_row(root: Path) -> None:
    (record,) = records(outcome(root, "clean", {"a": 1}))
    assert record["data"] == {"a": 1, "key": "message.created", "tenant": "acme"}


def test_it_may_return_nothing_and_several(root: Path) -> None:
    assert not outcome(root, "nothing", {}).lines
    assert not outcome(root, "several", {"n": 0}).lines
    found = records(outcome(root, "several", {"n": 3}))
    assert [record["data"]["n"] for record in found] == [0, 1, 2]
    assert len({record["id"] for record in found}) == 3
    assert found == records(outcome(root, "several", {"n": 3}))


def test_it_may_name_table_and_id(root: Path) -> None:
    found = records(outcome(root, "named", {}))
    assert [(each["table"], each["id"]) for each in found] == [("chat.first", "x"), ("chat.all", "q/0/7/1")]


def test_rows_that_share_a_value_are_shaped_each_for_itself(root: Path) -> None:
    found = records(outcome(root, "shared", {}, rename={"user.id": "user_id"}))
    assert [record["data"] for record in found] == [{"user": {}, "user_id": 1}] * 2


def test_what_is_no_object_may_be_made_one(root: Path) -> None:
    (record,) = records(outcome(root, "text", b'"a b"'))
    assert record["data"] == {"parts": ["a", "b"]}


def test_only_comes_first(root: Path) -> None:
    assert not outcome(root, "raises", {"a": 1}, only="data.none").lines


def test_an_exception_is_a_dead_letter_with_its_traceback(root: Path) -> None:
    found = outcome(root, "raises", {"a": 1})
    assert reason_of(found) == "function-failed"
    detail = records(found)[0]["data"]["detail"]
    assert 'listen/chats.py", line' in detail
    assert 'return data["none"]["of"]' in detail
    assert detail.endswith("KeyError: 'none'")
    assert "functions.py" not in detail


@pytest.mark.parametrize(
    ("function", "reason", "words"),
    [
        ("number", "function-failed", "number returned int: it may return a dict, several, or None"),
        ("numbers", "function-failed", "numbers returned int among its rows"),
        ("leaves", "function-failed", "SystemExit: 3"),
        ("wrong_table", "function-failed", "table and id of a Row are texts, not int"),
        ("wrong_id", "function-failed", "table and id of a Row are texts, not list"),
        ("uncopied", "function-failed", "a row holds what is no JSON"),
        ("endless", "too-deep", "levels of objects"),
        ("no_json", "function-failed", "a row holds what is no JSON"),
        ("half", "lone-surrogate", ""),
        ("lazy", "function-failed", "KeyError: 'late'"),
        ("own", "bad-table", "is Catchment's own"),
    ],
)
def test_what_is_no_row_is_a_dead_letter(root: Path, function: str, reason: str, words: str) -> None:
    for written in ({}, {"drop": ["none"]}, {"flatten": True, "id": "data.b"}):
        found = outcome(root, function, {}, **written)
        assert reason_of(found) == reason
        assert words in records(found)[0]["data"]["detail"]


def test_a_module_may_import_its_neighbour_and_shadows_nobody(root: Path) -> None:
    (root / "listen" / "neighbour_of_chats.py").write_text("def two():\n    return 2\n")
    (root / "listen" / "json.py").write_text("raise RuntimeError('shadowed')\n")
    (root / "listen" / "far.py").write_text(
        "import json\nfrom neighbour_of_chats import two\n\n\ndef f(data, message):\n"
        "    return {'a': two(), 'b': json.dumps(1)}\n"
    )
    config = settings(function="far:f")
    (record,) = records(Transformation("chats", config, root, DEFAULT_WINDOW).outcome(heard({})))
    assert record["data"] == {"a": 2, "b": "1"}


@pytest.mark.parametrize(
    ("name", "words", "hint"),
    [
        ("chat:clean", "there is no listen/chat.py", '"chats:clean"'),
        ("chats:cleen", "there is no cleen in listen/chats.py", "did you mean clean?"),
        ("broken:f", "listen/broken.py is no Python", ""),
    ],
)
def test_a_name_that_leads_nowhere_is_said(root: Path, name: str, words: str, hint: str) -> None:
    (root / "listen" / "broken.py").write_text("def f(:\n")
    fault = fault_of(name, root)
    assert fault is not None
    assert words in fault[0]
    assert hint in fault[1]


def test_looking_runs_nothing_and_loading_says_where_it_fails(root: Path) -> None:
    (root / "listen" / "odd.py").write_text("import nowhere_to_be_found\n\n\ndef f(data, message):\n    return data\n")
    assert fault_of("odd:f", root) is None
    with pytest.raises(UsageError, match=r"listen/odd.py cannot be imported: ModuleNotFoundError") as raised:
        load_function("odd:f", root)
    assert raised.value.hint.startswith("line 1: import nowhere")

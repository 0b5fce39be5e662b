"""The tables of docs/types.md say what the type ladder does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from catchment.load.values import Unfit, fitting, wanted, wants_widening
from catchment.naming import snake_case
from catchment.warehouses.columns import column_name
from catchment.warehouses.shape import ColumnType

PAGE = (Path(__file__).parents[2] / "docs" / "types.md").read_text(encoding="utf-8")


def table(mark: str) -> Iterator[list[str]]:
    """The cells of the table behind a mark, without its head."""
    found = re.search(rf"<!-- {mark} -->\n((?:\|.*\n)+)", PAGE)
    assert found is not None
    for line in found[1].splitlines()[2:]:
        yield [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize(("values", "column"), [(row[0], row[1]) for row in table("new fields")])
def test_a_new_field_gets_the_column_that_the_page_says(values: str, column: str) -> None:
    texts = [value.encode() for value in re.findall(r"`([^`]+)`", values)]
    assert wanted(texts) == (None if column == "none" else column.lower())


@pytest.mark.parametrize(("value", "outcomes"), [(row[0], row[1:]) for row in table("columns that are there")])
def test_in_a_column_it_becomes_what_the_page_says(value: str, outcomes: list[str]) -> None:
    text = value.strip("`").encode()
    found = []
    columns: tuple[ColumnType, ...] = get_args(ColumnType)
    for column in columns:
        try:
            fitting(text, column)
        except Unfit:
            found.append("widens" if column == "bigint" and wants_widening(text) else "rescued")
        else:
            found.append("kept")
    assert found == outcomes


def test_every_type_is_named() -> None:
    for kind in get_args(ColumnType):
        assert f"`{kind.upper()}`" in PAGE


def test_names_are_as_the_page_says() -> None:
    assert [snake_case(field) for field in ("userId", "User ID", "2nd", "日本", "Größe")] == [
        "user_id", "user_id", "_2nd", "field", "groe",
    ]  # fmt: skip
    assert re.fullmatch(r"user_id_[0-9a-f]{8}", column_name("User ID", {"user_id"}))
    assert re.fullmatch(r"_id_[0-9a-f]{8}", column_name("_id", ()))

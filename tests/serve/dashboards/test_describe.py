from __future__ import annotations

from catchment.serve.dashboards.describe import EXAMPLE, period_rows, spliced_rows, wrong_lines
from catchment.serve.dashboards.front import KEYS, NOT_YET
from catchment.serve.dashboards.options import KINDS, OPTIONS
from catchment.serve.dashboards.read import read_board


def test_the_references_example_has_no_mistake() -> None:
    assert read_board("dashboards/chat-queue.md", EXAMPLE).all_mistakes() == []
    found = read_board("dashboards/chat-queue.md", EXAMPLE)
    assert [fence.kind for fence in found.fences] == ["query", "number", "number", "area", "bar", "table", "vega-lite"]


def test_every_kind_and_option_is_read() -> None:
    """What is declared is what the reader takes: each option, with a value of its own, in each of its kinds."""
    values = {
        "width": "5", "format": ".0f", "unit": "s", "click": "f", "x": "a", "y": "b", "color": "c", "target": "<20",
        "good": "up", "compare": "off", "order": "a,b", "stack": "none", "page": "10", "link": "/x/{a}", "bar": "on",
        "total": "on",
    }  # fmt: skip
    assert values.keys() == OPTIONS.keys()
    for kind in KINDS:
        words = [
            f"{name}{'.a' if option.of_column else ''}={values[name]}"
            for name, option in OPTIONS.items()
            if kind in option.kinds
        ]
        text = f"---\nfilters:\n  f: {{type: text}}\n---\n```sql {kind} an_id {' '.join(words)}\nselect 1\n```\n"
        assert read_board("a.md", text).all_mistakes() == []


def test_every_key_of_the_front_matter_is_read() -> None:
    values = {
        "title": "A", "owner": "b", "refresh": "1h", "stale_after": "2 days", "groups": "[a]", "filters": "{}",
        "annotations": "select 1",
    }  # fmt: skip
    assert values.keys() == KEYS.keys()
    front = "\n".join(f"{key}: {value}" for key, value in values.items())
    assert read_board("a.md", f"---\n{front}\n---\n").all_mistakes() == []
    assert len(
        read_board("a.md", "---\n" + "\n".join(f"{key}: 1" for key in NOT_YET) + "\n---\n").all_mistakes()
    ) == len(NOT_YET)


def test_what_the_reference_shows() -> None:
    assert len(list(period_rows())) == 8
    assert dict(spliced_rows())["org in $org"] == "true"
    assert len(wrong_lines()) == 11

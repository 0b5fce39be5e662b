"""Write docs/reference from the code, the settings' declarations, the commands themselves and the warehouses'
conformance suite: `make docs`."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from catchment.cli import cli
from catchment.cli.exits import ExitCode
from catchment.config.describe import Section, Setting, sections
from catchment.config.sections import NOT_YET
from catchment.registry import adapter_class
from catchment.serve.dashboards import describe, formats, front, options, periods

REFERENCE = Path(__file__).parent / "reference"
sys.path.append(str(Path(__file__).parents[1]))  # for the suites' classes, in tests/

_NOTICE = "<!-- Written by `make docs` from the code: change it there. -->"

_CONFIGURATION = """\
The project file, `catchment.toml`, lies in the project's folder. Every setting has a default, so an empty file is
a project; `catchment init DIR` writes one with every setting commented. `catchment validate` says every mistake at
once, and `catchment schema project` prints a JSON Schema by which editors complete and check the file.

- **Variables**: `${NAME}` in a text comes from the environment, else from `.env` beside the file; `${file:PATH}`
  is what a file holds, without its last line end; `$${` stands for `${` itself. Numbers and sizes may be variables
  too. What a variable held is shown as `***` in logs and errors, unless it is shorter than four characters.
- **`.env`**: lines of `NAME=value` or `export NAME=value`; what follows ` #` is a comment. A value in single
  quotes is taken as it stands, one in double quotes knows `\\n`, `\\r`, `\\t`, `\\"` and `\\\\`; both may span
  lines.
- **Profiles**: `[profiles.NAME.SECTION]` is laid over `[SECTION]` by `--profile NAME`, setting by setting. Where
  it changes a section's `type`, that section is the profile's alone.
- **Sizes** have a unit: `"64 MB"` is 64 million bytes, `"64 MiB"` is 64 × 1024 × 1024. A bare number is bytes.
- **Durations** have a unit: `"250 ms"`, `"90 s"`, `"5 minutes"`, `"1.5 hours"`, `"7 days"`, `"2 weeks"`,
  `"1 year"` (of 365 days). Where it says so, `"forever"` is one as well.
"""

_COMMANDS = """\
stdout is data, stderr is words. `CATCHMENT_DEBUG=1` shows where in the code an error arose. Shell completion:
`catchment completion --help`.
"""

_DASHBOARDS = """\
A dashboard is one Markdown file, `dashboards/**/*.md`: front matter, then prose and fences of SQL in the warehouse's
own dialect. The file is the only copy. `catchment validate` says every mistake in it, with line and column; so does
the page, where a mistake spoils only the tile that it is in.
"""
_FENCES = """\
The first line of a fence is ```` ```sql KIND [id] ["Title"] key=value key="a b" flag ````. Ids are unique; without
one it is made from the title. A fence holds one `select`. Code in other languages, and what stands in `<!-- -->`, is
prose.
"""
_COLUMNS = """\
Where nothing is said, x is the first time or text, y the first number, and color the next text. Points (`scatter`)
are of two numbers where there are two; a heat map's colour is its last number, and x and y are the first two other
columns. A column `_order` sorts; others whose names begin with `_` are hidden, though links may use them. Where x is
a time, the chart spans the whole period: a bucket without a row is a gap in a line, and 0 elsewhere. Several y are a
series each.
"""
_VEGA = """\
A ```` ```vega-lite ```` fence holds JSON of Vega-Lite on the rows of a `query`, whose id stands first, or is named in
`{"data": {"name": "ID"}}`. It may hold no URL and no image. It has the options `width` and `click`.
"""
_QUERIES = """\
A `query` stands in front of the SQL of every fence that reads it, as `with ID as (…)`; queries may read queries. It
can be named like no table of the warehouse.
"""
_FILTERS = """\
`filters` names them: `queue: {type: many, from: "select distinct queue from chats"}`. A name is lower-case letters,
digits and `_`.
"""
_FILTER_TYPES = {
    "period": "A time: the [periods](#periods) below. `>= start and < end`.",
    "one": "One value of a list. Equality; null where null is chosen.",
    "many": "Several values of a list.",
    "range": "From one number or day to another, both in, either left open: `10..20`, `10..`, `..2026-11-25`.",
    "text": "Any text: what contains it, in any case.",
}
_SPLICING = """\
There is one rule, `column in $filter`, also `not in` and `in ($filter)`. Where nothing is chosen it is true, with its
`not`. Elsewhere `$filter` is its value or null, but not for `many`; a period has `$period.start`, `$period.end` and
`$period.grain`; `$user.email` is who has signed in. Values are bound, never written into the SQL. With Cards and
Other chosen in `queue`, nothing in `org`, email and null in `channel`, West in `region`, at least 10 in `amount`, and
`50%` in `search`:
"""
_PERIODS = """\
Days are those of the project's zone, weeks begin on Monday, and months, quarters and years are the calendar's. What
is moved is the clock's hand: a day with 23 or 25 hours is a day. The *previous* period is as many units before, cut
at the same elapsed minute while the period runs. Seen on Wednesday, 2026-11-25, at 12:40 in Los Angeles:
"""
_GRAIN = """\
The grain is hours up to 2 days, days up to 92, weeks up to 400, else months. Who looks may choose another, as long as
there are at most {most:,} steps. A day on which the clock is put back has 25 hours; DuckDB's `date_trunc` counts the
one that comes twice as one, `time_bucket(interval '1 hour', …)` as two.
"""
_ADDRESS = """\
The address of a page holds what is chosen. A filter that it does not name has its default; `?queue=Cards&queue=Other`
is two values, `?queue=` none, `?queue=~null` null, `?queue=~` the empty text; before a value that begins with `~`
stands another one. `?period=last+7+days&period.grain=hour` is a period with another grain than the usual. A value
that is none of the filter's is refused, with those that are. What the choice in one filter makes impossible in
another that depends on it is left out, and the page says so.
"""
_NUMBERS = """\
`format` is that of [d3-format](https://d3js.org/d3-format#locale_format), with the types {types} or none. Integers
and decimals are exact, however long. Change and target are judged by the number as shown: 54.6 shown as 55 reaches
`target=55`. Percentages differ in points, signed formats and rates such as `bp` by so much, other numbers in percent.
There is no change where the number before is null or 0, or where the first tenth of the period before has no rows.
"""
_MISTAKES = "Of this dashboard:"

_CODES = {
    ExitCode.DONE: "done",
    ExitCode.FAILED: "failed",
    ExitCode.WRONG_USAGE: "wrong usage or configuration",
    ExitCode.NOT_WELL: "something that was checked is not well",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C",
    ExitCode.READER_GONE: "whoever read the output has gone, as after `| head`",
}


def configuration() -> str:
    """The reference of catchment.toml."""
    parts = ["# Configuration", _NOTICE, _CONFIGURATION]
    for section in sections():
        parts.extend(_section(section))
    parts.extend(["## Not yet", "Designed and not built yet; `validate` refuses it:", "\n".join(_not_yet())])
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _section(section: Section) -> Iterator[str]:
    yield f"## `[{section.name}{'.NAME' if section.is_named else ''}]`"
    yield section.summary
    yield _settings(section.settings)
    for name, settings in section.by_type.items():
        default = " (the default)" if name == section.default_type else ""
        yield f'### `type = "{name}"`{default}'
        yield _settings(settings) if settings else "No settings of its own."


def _settings(settings: Sequence[Setting]) -> str:
    rows = []
    for setting in settings:
        default = {None: "must be given", "": "–"}.get(setting.default, f"`{setting.default}`")
        rows.append((f"`{setting.key}`", setting.type, default, setting.description))
    return _table(("setting", "type", "default", ""), rows)


def _not_yet() -> Iterator[str]:
    for key, values in NOT_YET.items():
        if values:
            yield f"- `{key}` = " + ", ".join(f'`"{value}"`' for value in values)
        else:
            yield f"- `[{key}]`"


def commands() -> str:
    """The reference of the command line."""
    codes = _table(("exit code", ""), [(str(code.value), _CODES[code]) for code in ExitCode])
    parts = ["# Commands", _NOTICE, _COMMANDS, codes]
    for path, command, context in _tree(cli, click.Context(cli, info_name="catchment")):
        if not isinstance(command, click.Group):
            parts.extend(_command(path, command, context))
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _tree(command: click.Command, context: click.Context) -> Iterator[tuple[str, click.Command, click.Context]]:
    yield context.command_path, command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from _tree(below, click.Context(below, info_name=name, parent=context))


def _command(path: str, command: click.Command, context: click.Context) -> Iterator[str]:
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"## `{path}`"
    yield f"```\n{path} {usage}\n```"
    yield _paragraphs(command.help or "")
    options = [option for option in command.params if isinstance(option, click.Option) and not option.hidden]
    if options:
        yield _table(("option", ""), [_option(option, context) for option in options])


def _paragraphs(text: str) -> str:
    """Help text, whose lines are wrapped for a terminal unless marked otherwise."""
    return "\n\n".join(
        paragraph.replace("\b\n", "") if paragraph.startswith("\b") else " ".join(paragraph.split())
        for paragraph in text.split("\n\n")
    )


def _option(option: click.Option, context: click.Context) -> tuple[str, str]:
    record = option.get_help_record(context)
    assert record is not None
    return f"`{record[0]}`", " ".join(record[1].split())


def dashboards() -> str:
    """The reference of the dashboards' format."""
    parts = ["# Dashboards", _NOTICE, _DASHBOARDS, f"````markdown\n{describe.EXAMPLE}````"]
    keys = [(f"`{key}`", words) for key, words in front.KEYS.items()]
    later = ", ".join(f"`{key}`" for key in front.NOT_YET)
    parts += ["## Front matter", _table(("key", ""), keys), f"{later}: not yet."]
    parts += ["## Fences", _FENCES, _table(("kind", "result", "width", ""), list(_kinds())), _COLUMNS, _QUERIES, _VEGA]
    parts += ["### Options", _table(("option", "of", ""), list(_fence_options()))]
    types = [(f"`{name}`", _FILTER_TYPES[name]) for name in front.FILTER_TYPES]
    keys = [(f"`{key}`", words) for key, words in front.FILTER_KEYS.items()]
    parts += ["## Filters", _FILTERS, _table(("type", ""), types), _table(("key", ""), keys)]
    spliced = [(f"`{written}`", f"`{sent}`") for written, sent in describe.spliced_rows()]
    parts += ["### In SQL", _SPLICING, _table(("written", "sent"), spliced)]
    parts += ["### In the address", _ADDRESS]
    forms = [(f"`{form}`", words) for form, words in periods.FORMS.items()]
    seen = [(f"`{row.text}`", row.start, row.end, row.previous, row.grain) for row in describe.period_rows()]
    parts += ["## Periods", _table(("period", ""), forms), _PERIODS]
    parts += [_table(("period", "start", "end (excluded)", "previous", "grain"), seen)]
    parts += [_GRAIN.format(most=periods.MAX_BUCKETS)]
    written = [(f"`{how}`", value, text) for how, value, text in describe.format_rows()]
    named = ", ".join(f"`{kind}`" for kind in formats.TYPES if kind)
    parts += ["## Numbers", _NUMBERS.format(types=named), _table(("format", "number", "written"), written)]
    wrong = "\n".join(describe.wrong_lines())
    parts += ["## Mistakes", _MISTAKES, f"````markdown\n{describe.WRONG}````", f"```\n{wrong}\n```"]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _kinds() -> Iterator[tuple[str, str, str, str]]:
    for name, kind in options.KINDS.items():
        yield f"`{name}`", kind.result, "–" if name == "query" else str(kind.width), kind.words


def _fence_options() -> Iterator[tuple[str, str, str]]:
    """Each option as it is written, and the kinds that have it."""
    for option in options.OPTIONS.values():
        name = f"{option.name}.COL" if option.of_column else option.name
        written = f"{name}={option.written}" if option.written else name
        kinds = (
            "all"
            if option.kinds >= options.SEEN
            else ", ".join(kind for kind in options.KINDS if kind in option.kinds)
        )
        yield f"`{written}`", kinds, option.words


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [_row(head), _row(["---"] * len(head)), *map(_row, rows)]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


_WAREHOUSES = """\
What each warehouse does, as the conformance suite has it (`catchment.testing.warehouses`): every line of these tables
is a test of the suite, which each warehouse passes before it is released. Another warehouse is one that passes it:
[write an adapter](../how-to/write-an-adapter.md).
"""

CONFORMING: Mapping[str, Mapping[str, str]] = {
    "duckdb": {
        "DuckDB": "tests.warehouses.test_duckdb:TestDuckDB",
        "DuckDB, through its process": "tests.warehouses.test_duckdb_server_conformance:TestDuckDBFromAfar",
    },
    "postgres": {"PostgreSQL": "tests.warehouses.test_postgres:TestPostgres"},
}
"""By the adapter's name in the registry: where the suite runs on it, under which heading."""


def warehouses() -> str:
    """What each warehouse does, by the suite that it passes."""
    classes = {heading: _class(path) for suites in CONFORMING.values() for heading, path in suites.items()}
    parts = ["# Warehouses", _NOTICE, _WAREHOUSES, "## How it is used", _table(("", *classes), list(_use()))]
    for section, tests in _suite(next(iter(classes.values()))).items():
        rows = [
            (words, *(each.differs.get(test, "yes") if hasattr(each, test) else "no" for each in classes.values()))
            for test, words in tests.items()
        ]
        parts.extend([f"## {section[0].upper()}{section[1:]}", _table(("", *classes), rows)])
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _use() -> Iterator[tuple[str, ...]]:
    """What follows from who owns the warehouse."""
    embedded = [
        getattr(adapter_class("warehouse", name), "is_embedded", False)
        for name, suites in CONFORMING.items()
        for _ in suites
    ]
    yield "loaders at once", *("one" if each else "any number" for each in embedded)
    yield (
        "who asks",
        *("through the process that owns the file" if each else "everyone, directly" for each in embedded),
    )


def _class(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


def _suite(conforming: Any) -> dict[str, dict[str, str]]:
    """Section → test → what it says, in the order in which the suite has them."""
    found: dict[str, dict[str, str]] = {}
    parts = [each for each in conforming.__mro__ if each.__module__.startswith("catchment.testing.")]
    for part in parts:
        module = import_module(part.__module__)
        said = " ".join((module.__doc__ or "").split())
        section = said.removeprefix("What every warehouse does ").partition(": a part")[0]
        for line in inspect.getsource(part).splitlines():
            if heading := re.match(r"    # ---- (.+?) -+$", line):
                section = heading[1]
            elif test := re.match(r"    def (test_(\w+))\(", line):
                found.setdefault(section, {})[test[1]] = test[2].replace("_", " ")
    return found


PAGES: Mapping[str, Callable[[], str]] = {
    "configuration.md": configuration,
    "commands.md": commands,
    "dashboards.md": dashboards,
    "warehouses.md": warehouses,
}


def main() -> None:
    """Write every page."""
    REFERENCE.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (REFERENCE / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()

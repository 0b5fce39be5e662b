"""The settings that all listeners have, whatever they listen to: `[listen.NAME]` of the project file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, field

from catchment.errors import Malformed
from catchment.listen.cast import Kind
from catchment.listen.condition import check_condition, condition
from catchment.listen.naming import ABOUT, DATA, HEADER, Template, check_name, check_path, check_template
from catchment.record import OWN_SCHEMA, check_table

_FUNCTION = re.compile(r"[a-z_][A-Za-z0-9_]*(\.[a-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*\Z")
_LISTENER = re.compile(r"[a-z_][a-z0-9_]{0,62}\Z")


def _check_table_template(text: str) -> None:
    check_template(text)
    bare = re.sub(r"\{[^{}]*\}", "x", text)
    if bare.count(".") != 1:
        raise ValueError(
            "must be schema.table, with one dot outside of braces: dots of a value become _",
            'such as "chat.{routing_key}"',
        )
    try:
        check_table(bare)
        if bare.startswith(f"{OWN_SCHEMA}."):
            raise Malformed("bad-table", f"{bare} is Catchment's own")
    except Malformed as error:
        raise ValueError(f"must be a table's name: {error.detail.removesuffix(' - at `$.table`')}") from None


def _check_function(text: str) -> None:
    if not _FUNCTION.match(text):
        raise ValueError("must be a function in the folder listen/", '"chats:clean", for clean in listen/chats.py')


def _check_listener(name: str) -> None:
    if not _LISTENER.match(name):
        raise ValueError("must be a name of small letters, digits and _")


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or "@" in parts.netloc:
        raise ValueError("must be an address with http:// or https://", "username and password are settings beside it")


Path = Annotated[str, Meta(extra={"check": check_path})]
Name = Annotated[str, Meta(extra={"check": check_name})]
Assigned = Annotated[str | int | float | bool, Meta(extra={"check": check_template})]
ListenerName = Annotated[str, Meta(extra={"check": _check_listener})]


class RegistryConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A schema registry, as Confluent's answers."""

    url: Annotated[str, Meta(description="Where it is, such as `https://registry:8081`.", extra={"check": _check_url})]
    username: Annotated[str, Meta(min_length=1, description="For basic authentication.")] | None = None
    password: Annotated[str, Meta(min_length=1, description="For basic authentication.")] | None = None
    ca_file: (
        Annotated[
            str,
            Meta(
                min_length=1,
                description="Certificates to trust with `https`, relative to the project; else the system's.",
            ),
        ]
        | None
    ) = None
    timeout_s: Annotated[float, Meta(gt=0, le=60, description="So long an answer may take, in seconds.")] = 10.0


Send = Literal["records", "data", "message"]


class ForwardConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Another queue, which takes what is heard in place of this project's."""

    send: Annotated[
        Send,
        Meta(
            description="What is sent on: `records`, packed, for another Catchment; each row's `data` as a JSON"
            " message; or each `message` as it was heard."
        ),
    ] = "records"


class ListenConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of what is heard."""

    table: Annotated[
        str,
        Meta(
            description="Where it is filed; names in braces are what the message says, such as"
            " `chat.{routing_key}`, where dots become `_`.",
            extra={"check": _check_table_template},
        ),
    ]
    source: (
        Annotated[str, Meta(min_length=1, description="`_source` of its rows; the listener's name if none.")] | None
    ) = None
    id: (
        Annotated[
            str,
            Meta(
                description="What names a message for good: `data.message_id`, `header.x-id`. Else, and where that is"
                " missing, it is the broker's own identity.",
                extra={"check": check_name},
            ),
        ]
        | None
    ) = None
    time: (
        Annotated[
            str,
            Meta(
                description="With `id`: the message's own time, the same in every copy, such as `data.sent_at`. It"
                " bounds the search for copies.",
                extra={"check": check_name},
            ),
        ]
        | None
    ) = None
    only: (
        Annotated[
            str,
            Meta(
                description='A condition; what does not meet it is not filed: `data.kind in ["chat", "mail"] and not'
                " header.test`.",
                extra={"check": check_condition},
            ),
        ]
        | None
    ) = None
    function: (
        Annotated[
            str,
            Meta(
                description='A function of the project that makes rows of a message: `"chats:clean"` is `clean` in'
                " `listen/chats.py`.",
                extra={"check": _check_function},
            ),
        ]
        | None
    ) = None
    keep: Annotated[list[Path], Meta(description="The only fields that are kept, where any are named.")] = []
    drop: Annotated[list[Path], Meta(description="Fields that are not kept, such as `body.text`.")] = []
    rename: Annotated[
        dict[Path, Path], Meta(description='Fields under other names: `{"body.userId" = "user_id"}`.')
    ] = {}
    cast: Annotated[
        dict[Path, Kind],
        Meta(
            description="Fields of another type: `text`, `integer`, `number`, `boolean`, `time` or `json` (a text that"
            " holds JSON). What cannot be it stays as it is."
        ),
    ] = {}
    flatten: Annotated[
        bool, Meta(description="Whether objects become columns of their own: `{a: {b: 1}}` is `a_b`.")
    ] = False
    assign: Annotated[
        dict[str, Assigned],
        Meta(description='Fields to add: constants, and what the message says: `{tenant = "{header.tenant}"}`.'),
    ] = field(default_factory=dict, name="set")
    registry: RegistryConfig | None = None


def mistakes(config: ListenConfig, about: Sequence[str], type_name: str) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """What is right by itself and asks for what this kind of broker does not say: where, what, and how to fix it."""
    named: list[tuple[tuple[str, ...], Sequence[str]]] = [
        (("table",), Template(config.table).names),
        (("id",), [config.id] if config.id else []),
        (("time",), [config.time] if config.time else []),
        (("only",), condition(config.only).names if config.only else []),
        *((("set", name), Template(text).names) for name, text in config.assign.items() if isinstance(text, str)),
    ]
    for path, names in named:
        for name in names:
            if name.partition(".")[0] not in {DATA, HEADER} and name not in about:
                yield path, f"names {name}, which {type_name} does not say of a message", f"one of {', '.join(about)}"
    if config.time and not config.id:
        yield ("time",), "goes with id: what is named by its broker has its broker's time", 'id = "data.…"'


__all__ = ["ABOUT", "ForwardConfig", "ListenConfig", "ListenerName", "RegistryConfig", "Send", "mistakes"]

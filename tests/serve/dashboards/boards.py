"""Dashboards for tests, and their mistakes as they are said."""

from __future__ import annotations

from catchment.serve.dashboards.board import Board, Fence
from catchment.serve.dashboards.read import read_board

FRONT = """\
---
title: Chat queue
owner: support
refresh: 30s
filters:
  period: {type: period, default: last 30 days}
  queue: {type: many, from: "select distinct queue from chats order by 1"}
  region: {type: one, options: [West, East]}
  amount: {type: range}
  search: {type: text}
---
"""
"""Eleven lines; the next is line 12."""


def board(body: str, front: str = FRONT, path: str = "dashboards/chat-queue.md") -> Board:
    return read_board(path, front + body)


def fence(info: str, sql: str = "select 1", front: str = FRONT) -> Fence:
    """The only fence of a board: its first line, behind the language, is line 12, column 8."""
    [only] = board(f"```sql {info}\n{sql}\n```\n", front).fences
    return only


def said(found: Board) -> list[str]:
    """All mistakes, without the file's name."""
    return [str(mistake).removeprefix(f"{found.path}:") for mistake in found.all_mistakes()]


def said_of(info: str, sql: str = "select 1", front: str = FRONT) -> list[str]:
    return said(board(f"```sql {info}\n{sql}\n```\n", front))

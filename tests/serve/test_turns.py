"""Nobody takes the warehouse from all others."""

from __future__ import annotations

import pytest

from catchment.errors import Retry
from catchment.serve.accounts import User
from catchment.serve.web.turns import Turns

ANA = User("1", "ana@acme.example", "Ana", "analyst", frozenset())
BEN = User("2", "ben@acme.example", "Ben", "viewer", frozenset())


def test_as_many_as_the_role_may_run_and_others_are_not_kept_out() -> None:
    turns = Turns({"viewer": 1, "analyst": 2, "admin": 3})
    with turns.of(ANA), turns.of(ANA):
        with pytest.raises(Retry, match="2 of your queries are running already"), turns.of(ANA):
            pass
        with turns.of(BEN), pytest.raises(Retry), turns.of(BEN):
            pass


def test_a_turn_is_given_back_however_the_query_ends() -> None:
    turns = Turns({"viewer": 1, "analyst": 1, "admin": 1})
    with pytest.raises(ZeroDivisionError), turns.of(ANA):
        raise ZeroDivisionError
    with turns.of(ANA):
        pass

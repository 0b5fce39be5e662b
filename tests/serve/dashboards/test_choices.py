from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catchment.serve.dashboards.board import Board, Choice, Filter, Range, Scalar
from catchment.serve.dashboards.choices import AddressError, Chosen, Listed, choose, in_order
from catchment.sql.choices import Between, Contains, Equal, Span, Value
from catchment.sql.choices import Choice as ForSql
from tests.serve.dashboards.boards import board

ZONE = ZoneInfo("America/Los_Angeles")
NOW = datetime(2026, 11, 25, 12, 40, tzinfo=ZONE)

FRONT = """\
---
filters:
  period: {type: period, default: last 30 days}
  queue: {type: many, from: "select distinct queue from chats order by 1"}
  repo: {type: many, label: Repository, from: "select repo from issues where org in $org and opened in $period"}
  org: {type: many, label: Organization, from: "select org from issues", default: [simple]}
  region: {type: one, options: [West, East, null], required: true}
  amount: {type: range}
  search: {type: text, default: card}
---
"""
QUEUES = ("Cards", "Transfers", "Account", "Goals", "Other")
REPOS = {"simple": ("ios", "web"), "simple-oss": ("docs",)}


def listed(values: Sequence[Scalar], is_complete: bool = True) -> Listed:
    return Listed(tuple(Choice(value, str(value)) for value in values), is_complete)


def list_of(each: Filter, chosen: Mapping[str, ForSql]) -> Listed:
    """As the warehouse would answer."""
    if each.name == "queue":
        return listed(QUEUES)
    if each.name == "org":
        return listed(tuple(REPOS))
    org = chosen["org"]
    assert isinstance(org, Equal)
    assert isinstance(chosen["period"], Span)
    return listed([repo for name, repos in REPOS.items() if not org.values or name in org.values for repo in repos])


@pytest.fixture(scope="module")
def filters() -> Board:
    found = board("", FRONT)
    assert found.all_mistakes() == []
    return found


def chosen(found: Board, address: str) -> Chosen:
    return choose(found, parse_qsl(address, keep_blank_values=True), NOW, list_of, "ana@example.com")


def test_an_address_without_choices_has_the_defaults(filters: Board) -> None:
    found = chosen(filters, "")
    sql = found.for_sql("ana@example.com")
    period = sql["period"]
    assert isinstance(period, Span)
    assert (period.start, period.grain) == (datetime(2026, 10, 27, tzinfo=ZONE), "day")
    assert sql["queue"] == Equal(many=True)
    assert sql["org"] == Equal(("simple",), many=True)
    assert sql["region"] == Equal()
    assert sql["amount"] == Between()
    assert sql["search"] == Contains("card")
    assert sql["user.email"] == Value("ana@example.com")
    assert found.address() == ""
    assert [each.name for each in found.waiting] == ["region"]


def test_every_choice_goes_to_the_sql_and_back_into_the_address(filters: Board) -> None:
    address = (
        "?period=this+month&period.grain=week&queue=Cards&queue=Other&repo=docs&org=&region=~null&amount=10..2.5e"
    ).replace("..2.5e", "..20.50")
    address += "&search="
    found = chosen(filters, address[1:])
    sql = found.for_sql(None)
    assert sql["queue"] == Equal(("Cards", "Other"), many=True)
    assert sql["org"] == Equal(many=True)
    assert sql["repo"] == Equal(("docs",), many=True)
    assert sql["region"] == Equal(null=True)
    assert sql["amount"] == Between(10, Decimal("20.50"))
    assert sql["search"] == Contains("")
    assert isinstance(sql["period"], Span)
    assert sql["period"].grain == "week"
    assert found.address() == address
    assert found.waiting == ()
    labels = {name: each.label for name, each in found.selections.items()}
    assert labels["queue"] == "Cards, Other"
    assert labels["period"] == "This month"
    assert labels["amount"] == "10 – 20.50"


def test_the_period_before_goes_to_the_sql(filters: Board) -> None:
    before = chosen(filters, "period=this+week").for_sql(None, previous=True)["period"]
    assert before == Span(datetime(2026, 11, 16, tzinfo=ZONE), datetime(2026, 11, 18, 12, 40, tzinfo=ZONE), "day")
    assert chosen(filters, "period=all").for_sql(None, previous=True)["period"] == Span(grain="month")


def test_a_period_may_be_nothing_or_all(filters: Board) -> None:
    assert chosen(filters, "period=").address() == "?period="
    assert chosen(filters, "period=all").address() == "?period=all"
    assert chosen(filters, "period=Last%20%207%20DAYS").address() == "?period=last+7+days"
    assert chosen(filters, "period=last+30+days").address() == ""


def test_one_choice_changed(filters: Board) -> None:
    found = chosen(filters, "queue=Cards&search=x")
    assert found.address({"queue": ("Other",)}) == "?queue=Other&search=x"
    assert found.address({"queue": (), "search": ()}) == ""
    assert found.address({"org": ("",)}) == "?queue=Cards&org=&search=x"


@pytest.mark.parametrize(
    ("address", "texts"),
    [
        ("queue=Cardz", ["queue: 'Cardz' is none of Cards, Transfers, Account, Goals, Other"]),
        ("queu=Cards", ["queu: no such filter; did you mean queue?"]),
        ("x=1", ["x: no such filter; filters: amount, org, period, queue, region, repo, search"]),
        ("region=West&region=East", ["region: only one value, not 2"]),
        ("queue=~null", ["queue: null is none of Cards, Transfers, Account, Goals, Other"]),
        ("amount=many", ["amount: 'many' is no range, such as 10..20, 10.. or ..20"]),
        ("amount=1..x", ["amount: 'x' is no number"]),
        ("amount=5..1", ["amount: '5..1' ends before it begins"]),
        ("amount=5..2026-01-01", ["amount: '5..2026-01-01' has a number at one end and a day at the other"]),
        ("period=last+3+weekz", ["period: 'last 3 weekz': no unit 'weekz'; did you mean week?"]),
        ("period.grain=wek", ["period.grain: no grain 'wek'; did you mean week?"]),
        (
            "period=last+12+months&period.grain=hour",
            ["period: 'hour' is too fine for last 12 months; grains: day, week, month, quarter, year"],
        ),
        ("search=" + "a" * 501, ["search: at most 500 characters"]),
        (
            "queue=Cardz&amount=x&nope=1",
            [
                "nope: no such filter; filters: amount, org, period, queue, region, repo, search",
                "queue: 'Cardz' is none of Cards, Transfers, Account, Goals, Other",
                "amount: 'x' is no range, such as 10..20, 10.. or ..20",
            ],
        ),
    ],
)
def test_what_is_no_address_of_the_dashboard(filters: Board, address: str, texts: list[str]) -> None:
    with pytest.raises(AddressError) as error:
        chosen(filters, address)
    assert list(error.value.texts) == texts


def test_what_a_parent_makes_impossible_is_left_out_and_told(filters: Board) -> None:
    found = chosen(filters, "org=simple-oss&repo=ios&repo=docs&repo=web")
    assert found.for_sql(None)["repo"] == Equal(("docs",), many=True)
    assert found.address() == "?repo=docs&org=simple-oss"
    assert [each.text for each in found.dropped] == [
        "Repository: ios and web are not there with what Period and Organization have chosen, and left out"
    ]


def test_without_a_parents_choice_a_wrong_value_is_refused(filters: Board) -> None:
    with pytest.raises(AddressError, match="repo: 'nope' is none of ios, web, docs"):
        chosen(filters, "period=&org=&repo=nope")


def test_a_default_that_the_data_no_longer_has_is_left_out() -> None:
    found = board("", "---\nfilters:\n  queue: {type: many, from: select 1, default: [Cards, Gone]}\n---\n")
    selected = choose(found, [], NOW, list_of)
    assert selected.for_sql(None)["queue"] == Equal(("Cards",), many=True)
    assert [each.text for each in selected.dropped] == ["Queue: Gone is not there, and left out"]


def test_filters_are_asked_for_behind_what_they_need(filters: Board) -> None:
    order = in_order(filters)
    assert sorted(order) == sorted(filters.filters)
    assert order.index("org") < order.index("repo")
    assert order.index("period") < order.index("repo")


def test_values_are_typed_like_their_options() -> None:
    found = board("", "---\nfilters:\n  v: {type: one, from: select 1}\n---\n")

    def value(text: str, values: Sequence[Scalar], is_complete: bool = True) -> object:
        chosen = choose(found, [("v", text)], NOW, lambda each, sql: listed(values, is_complete)).for_sql(None)["v"]
        assert isinstance(chosen, Equal)
        return chosen.values[0]

    assert value("9007199254740993", [9007199254740993, 9007199254740992]) == 9007199254740993
    assert value("1.50", [Decimal("1.5")]) == Decimal("1.5")
    assert value("true", [True, False]) is True
    assert value("1", ["1", "2"]) == "1"
    assert value("2026-11-25", [date(2026, 11, 25)]) == date(2026, 11, 25)
    # Not all are listed: then the listed ones tell the type.
    assert value("77", [1, 2], is_complete=False) == 77
    assert value("77", ["a"], is_complete=False) == "77"
    assert value("2026-01-02", [date(2026, 11, 25)], is_complete=False) == date(2026, 1, 2)
    with pytest.raises(AddressError, match="v: 'x' is no number"):
        value("x", [1, 2], is_complete=False)
    with pytest.raises(AddressError, match=r"v: 'value 71x' is none of its 100 values; did you mean value 71\?"):
        value("value 71x", [f"value {number}" for number in range(100)])


VALUES = st.one_of(
    st.none(), st.text(max_size=8), st.integers(), st.booleans(), st.dates(),
    st.sampled_from(["~", "~null", "~~null", "", "null", "~~", "a&b=c", "1", "true"]),
    st.decimals(allow_nan=False, allow_infinity=False, places=3),
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=6, unique_by=lambda value: (type(value).__name__, str(value))))
def test_any_values_go_into_an_address_and_come_back(values: list[Scalar]) -> None:
    # Two values with one text, such as 1 and "1", are of no warehouse's column.
    values = list({str(value).lower(): value for value in values}.values())
    if sum(isinstance(value, int | Decimal) for value in values) > 1:
        values = [value for value in values if isinstance(value, bool) or not isinstance(value, int | Decimal)]
    found = board("", "---\nfilters:\n  v: {type: many, from: select 1}\n---\n")

    def ask(address: str) -> Chosen:
        pairs = parse_qsl(address.removeprefix("?"), keep_blank_values=True)
        return choose(found, pairs, NOW, lambda each, sql: listed(values))

    address = ask("").address({"v": tuple(map(_text, values))})
    selected = ask(address)
    assert selected.selections["v"].values == tuple(values)
    assert [type(value) for value in selected.selections["v"].values] == [type(value) for value in values]
    assert ask(selected.address()) == selected


def _text(value: Scalar) -> str:
    from catchment.serve.dashboards.choices import address_text

    return address_text(value)


@settings(deadline=None)
@given(
    st.text(max_size=30), st.sampled_from(["period", "queue", "region", "amount", "search", "repo", "period.grain"])
)
def test_any_text_is_a_choice_or_refused_in_words(text: str, name: str) -> None:
    found = board("", FRONT)
    try:
        selected = choose(found, [(name, text)], NOW, list_of)
    except AddressError as error:
        refused = error.texts
    else:
        again = choose(found, selected.pairs(), NOW, list_of)
        assert again.for_sql(None) == selected.for_sql(None)
        return
    assert all(each.startswith(name.partition(".")[0]) for each in refused)


def test_a_range_of_days() -> None:
    found = board("", "---\nfilters:\n  d: {type: range, default: 2026-01-01..}\n---\n")
    assert choose(found, [], NOW, list_of).for_sql(None)["d"] == Between(date(2026, 1, 1), None)
    selected = choose(found, [("d", "..2026-02-01")], NOW, list_of)
    assert selected.selections["d"].range == Range(None, date(2026, 2, 1))
    assert selected.selections["d"].label == "– 2026-02-01"

"""Nobody gets past the middleware whom it does not know."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catchment.serve.accounts import User
from catchment.serve.accounts.access import is_open
from catchment.serve.accounts.local import way_back
from catchment.serve.config import ServeConfig
from catchment.state.users import ROLES
from tests.accounts.asking import HOST, METHODS, Browser, World, where
from tests.accounts.conftest import EMAIL, PASSWORD, signed_in

UNSAFE = [method for method in METHODS if method not in {"GET", "HEAD", "OPTIONS"}]
FOREIGN: list[dict[str, str]] = [
    {"sec-fetch-site": "cross-site", "origin": "https://evil.example"},
    {"sec-fetch-site": "same-site", "origin": f"https://evil.{HOST}"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "cross-site", "origin": f"https://{HOST}"},
    {"origin": "https://evil.example"},
    {"origin": f"https://{HOST}.evil.example"},
    {"origin": f"https://{HOST}:8443"},
    {"origin": f"https://evil.example/{HOST}"},
    {"origin": f"https://{HOST}@evil.example"},
    {"origin": "null"},
    {"origin": ""},
    {"origin": f"ftp://{HOST}"},
    {"origin": "https://[::1"},
    {"referer": f"https://{HOST}/"},
    {},
]


def test_a_stranger_sees_nothing_but_the_open_paths(world: World) -> None:
    stranger = world.browser()
    for path in ("/", "/d/company", "/sql", "/apps/staffing/", "/api/me", "/static", "/healthz/", "/sign-in/x"):
        for method in METHODS:
            answer = stranger.ask(method, path)
            assert answer.status in {303, 401}, (method, path)
            assert b"email" not in answer.body
    for path in ("/healthz", "/static/app.js", "/sign-in", "/sign-in/link", "/favicon.ico"):
        assert stranger.get(path).status == 200


def test_people_are_sent_to_sign_in_and_programs_are_told(world: World) -> None:
    stranger = world.browser()
    assert where(stranger.get("/d/a?b=1&c=é")) == "/sign-in?next=/d/a%3Fb%3D1%26c%3D%25C3%25A9"
    assert where(stranger.get("/")) == "/sign-in"
    program = stranger.get("/d/a", accept="*/*")
    assert (program.status, program.header("content-type")) == (401, "application/json")
    assert program.header("www-authenticate").startswith("Bearer")
    assert stranger.get("/api/query").status == 401
    assert stranger.get("/d/a", sec_fetch_mode="cors").status == 401
    assert stranger.get("/d/a", accept="*/*", sec_fetch_mode="navigate").status == 303


def test_after_signing_in_the_way_leads_back(world: World) -> None:
    signed_in(world)
    browser = world.browser()
    back = where(browser.get("/d/chat-queue?queue=Cards&period=last+7+days"))
    form = {"email": EMAIL, "password": PASSWORD, "next": parse_qs(urlsplit(back).query)["next"][0]}
    assert where(browser.ask("POST", "/sign-in", form=form)) == "/d/chat-queue?queue=Cards&period=last+7+days"
    assert browser.get("/api/me").json["email"] == EMAIL


@pytest.mark.parametrize("headers", FOREIGN, ids=lambda headers: "+".join(headers) or "none")
def test_no_other_site_can_make_a_browser_change_anything(ana: Browser, headers: dict[str, str]) -> None:
    ana.site = None
    for path in ("/", "/d/company", "/sign-out", "/sign-in", "/apps/x", "/static/x"):
        for method in UNSAFE:
            assert ana.ask(method, path, headers=headers).status == 403, (method, path)
    assert ana.websocket("/socket", headers) == ["websocket.close"]
    assert ana.get("/api/me").status == 200


@pytest.mark.parametrize(
    "headers",
    [{"sec-fetch-site": "same-origin"}, {"origin": f"https://{HOST}"}, {"origin": f"https://{HOST}:443"}],
    ids=str,
)
def test_our_own_pages_can(ana: Browser, headers: dict[str, str]) -> None:
    ana.site = None
    assert ana.ask("POST", "/d/company", headers=headers).status == 200
    assert ana.websocket("/socket", headers) == ["websocket.accept", "websocket.close"]


def test_a_websocket_needs_a_user(world: World) -> None:
    assert world.browser().websocket("/socket", {"origin": f"https://{HOST}"}) == ["websocket.close"]


def test_roles(world: World) -> None:
    viewer = signed_in(world, "vic@acme.example", "viewer")
    analyst = signed_in(world, "ann@acme.example", "analyst")
    assert (viewer.get("/sql").status, viewer.get("/sql").json) == (403, {"needs": "analyst"})
    assert analyst.get("/sql").status == 200


def test_groups() -> None:
    user = User("1", "a@b.c", "A", "viewer", frozenset({"support"}))
    assert user.sees([])
    assert user.sees(["fraud", "support"])
    assert not user.sees(["fraud"])
    assert User("1", "a@b.c", "A", "admin", frozenset()).sees(["fraud"])
    assert [role for role in ROLES if user.may(role)] == ["viewer"]


@pytest.mark.parametrize(
    ("config", "scheme", "name", "attributes"),
    [
        (ServeConfig(public_url=f"https://{HOST}"), "http", "__Host-catchment-", {"Path=/", "Secure"}),
        (ServeConfig(), "https", "__Host-catchment-", {"Path=/", "Secure"}),
        (ServeConfig(base_path="/x"), "https", "__Secure-catchment-", {"Path=/x", "Secure"}),
        (ServeConfig(base_path="/x"), "http", "catchment-", {"Path=/x"}),
        (ServeConfig(), "http", "catchment-", {"Path=/"}),
    ],
)
def test_the_cookie(
    make_world: Callable[..., World], config: ServeConfig, scheme: str, name: str, attributes: set[str]
) -> None:
    world = make_world(config)
    browser = signed_in(world)
    browser = world.browser(scheme=scheme)
    browser.ask("POST", f"{config.base_path}/sign-in", form={"email": EMAIL, "password": PASSWORD})
    [(cookie, line)] = browser.jar.items()
    assert cookie == name + world.accounts.instance
    assert attributes | {"HttpOnly", "SameSite=Lax"} <= set(line.split("; "))
    assert ("Secure" in line) == ("Secure" in attributes)
    assert "Domain" not in line
    assert browser.get(f"{config.base_path}/api/me").status == 200
    browser.cookies["other"] = 'b"ad, {}\\'
    assert browser.get(f"{config.base_path}/api/me").status == 200


def test_under_tls_an_unencrypted_cookie_is_worth_nothing(world: World, ana: Browser) -> None:
    [(name, value)] = ana.cookies.items()
    ana.cookies = {name.removeprefix("__Host-"): value}
    assert ana.get("/api/me").status == 401


def test_only_a_trusted_proxy_says_that_it_was_tls_and_who_asked(make_world: Callable[..., World]) -> None:
    world = make_world(ServeConfig(trusted_proxies=["10.0.0.0/8"]))
    signed_in(world)
    form = {"email": EMAIL, "password": PASSWORD}
    for address, is_secure in (("10.1.2.3", True), ("192.0.2.1", False)):
        browser = world.browser(scheme="http", address=address)
        browser.ask("POST", "/sign-in", form=form, headers={"x-forwarded-proto": "https"})
        assert ("Secure" in next(iter(browser.jar.values()))) == is_secure


def test_a_base_path(make_world: Callable[..., World]) -> None:
    world = make_world(ServeConfig(base_path="/data", public_url=f"https://{HOST}"))
    stranger = world.browser()
    assert where(stranger.get("/data/d/a")) == "/data/sign-in?next=/data/d/a"
    assert stranger.get("/data/static/app.js").status == 200
    for path in (
        "/static/app.js", "/healthz", "/database/static/x", "/data/../data/static/x", "/data/static/../d/a",
        "/data/static//d/a", "/data/static/..\\d", "/data//static/x", "/data/static/", "/data", "//data/static/x",
    ):  # fmt: skip
        assert stranger.get(path).status == 303, path
    browser = signed_in(world)
    answer = browser.ask("POST", "/data/sign-out", form={})
    assert where(answer) == "/data/sign-in"


BAD_WAYS = [
    "https://evil.example/", "//evil.example/", "///evil.example", "/\\evil.example", "\\\\evil.example",
    "/\t/evil.example", "javascript:alert(1)", "data:text/html,x", "/%2e%2e/x", "/..", "/data/../../x", "evil", "",
    "/\n//evil.example", "https:evil.example", "/" + "x" * 3_000, "?next=/", "#", "http://[", "/a/../..//evil",
]  # fmt: skip


@pytest.mark.parametrize("asked", BAD_WAYS)
def test_the_way_back_leads_to_no_other_site(asked: str) -> None:
    assert way_back(asked, "") == "/"
    assert way_back(asked, "/data") == "/data/"


def test_the_way_back_stays_below_the_base_path() -> None:
    assert way_back("/data/d/a?x=1#y", "/data") == "/data/d/a?x=1#y"
    assert way_back("/other", "/data") == "/data/"
    assert way_back("/database", "/data") == "/data/"
    assert way_back(None, "") == "/"


@given(st.text(alphabet=st.sampled_from("/\\.:@?#%2e\t\n ahtps"), max_size=30))
def test_no_text_leads_away(asked: str) -> None:
    found = way_back(asked, "")
    assert found.startswith("/")
    assert not found.startswith(("//", "/\\"))
    assert urljoin("https://us.example/sign-in", found).startswith("https://us.example/")


@given(st.text(alphabet=st.sampled_from("/.\\abstic"), max_size=20))
def test_what_is_open_is_below_static(rest: str) -> None:
    path = "/static/" + rest
    if is_open(path):
        assert not {"", ".."} & set(rest.split("/"))
        assert "\\" not in rest
    assert not is_open(rest) or rest.startswith("/static/")

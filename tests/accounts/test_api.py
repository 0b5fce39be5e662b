"""What pages' scripts ask about accounts, and programs' tokens."""

from __future__ import annotations

from typing import Any

import pytest

from catchment.serve.accounts import administration, api, own
from catchment.serve.accounts.administration import COMMAND
from catchment.state.audit import Audit
from tests.accounts.asking import HOST, Answer, Browser, World
from tests.accounts.conftest import EMAIL, PASSWORD, signed_in

ROUTES = [
    ("GET", "/api/account"),
    ("POST", "/api/account/password"),
    ("DELETE", "/api/account/sessions"),
    ("DELETE", "/api/account/sessions/x"),
    ("POST", "/api/account/tokens"),
    ("DELETE", "/api/account/tokens/x"),
    ("GET", "/api/admin/users"),
    ("POST", "/api/admin/users"),
    ("PATCH", "/api/admin/users/ana@acme.example"),
    ("POST", "/api/admin/users/ana@acme.example/reset"),
    ("POST", "/api/admin/users/ana@acme.example/revoke"),
    ("POST", "/api/admin/users/ana@acme.example/restore"),
    ("GET", "/api/admin/audit"),
]


def token_of(browser: Browser, **more: Any) -> dict[str, Any]:
    answer = browser.ask("POST", "/api/account/tokens", body={"name": "a script", **more})
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json
    return found


def with_token(world: World, secret: str, method: str = "GET", target: str = "/api/me", **more: Any) -> Answer:
    return world.browser(site=None).ask(method, target, headers={"authorization": f"Bearer {secret}"}, **more)


def test_these_are_all_routes(world: World) -> None:
    listed = {
        (method, route.path.replace("{email}", EMAIL).replace("{id}", "x"))
        for route in api.of(world.accounts)
        for method in route.methods or ()
        if method != "HEAD"
    }
    assert listed == set(ROUTES)


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_each_route_is_for_those_it_is_for(world: World, ana: Browser, method: str, path: str) -> None:
    secret = token_of(ana, role="admin")["secret"]
    analyst = signed_in(world, "ann@acme.example", "analyst")
    assert world.browser().ask(method, path, body={}).status == 401
    assert with_token(world, secret, method, path, body={}).status == 403
    answer = analyst.ask(method, path, body={})
    if path.startswith("/api/admin"):
        assert (answer.status, answer.json["role"]) == (403, "admin")
    else:
        assert answer.status in {200, 400, 404}
    analyst.site = "cross-site"
    if method != "GET":
        assert analyst.ask(method, path, body={}).status == 403
    [still] = [user for user in administration.users(world.state) if user.email == EMAIL]
    assert (still.role, still.revoked_at) == ("admin", None)


def test_users_are_invited_changed_reset_revoked_and_restored(world: World, ana: Browser) -> None:
    new = {"email": "Bob@acme.example", "role": "analyst", "groups": ["support"]}
    invited = ana.ask("POST", "/api/admin/users", body=new).json
    assert invited["link"].startswith(f"https://{HOST}/sign-in/link?token=")
    bob = world.browser()
    token = invited["link"].partition("token=")[2]
    assert bob.ask("POST", "/sign-in/link", body={"token": token, "password": PASSWORD}).status == 200
    one = "/api/admin/users/bob@acme.example"
    changed = ana.ask("PATCH", one, body={"role": "viewer", "name": "Bob B."}).json
    assert (changed["role"], changed["name"], changed["groups"]) == ("viewer", "Bob B.", ["support"])
    assert "link" in ana.ask("POST", f"{one}/reset").json
    assert ana.ask("POST", f"{one}/revoke").json["revoked_at"] is not None
    assert bob.get("/api/me").status == 401
    assert ana.ask("POST", f"{one}/restore").json["revoked_at"] is None
    listed = ana.get("/api/admin/users")
    assert [user["email"] for user in listed.json] == [EMAIL, "bob@acme.example"]
    assert b"argon2" not in listed.body
    audit = ana.get("/api/admin/audit?limit=5&user=ana%40acme.example").json
    assert [entry["action"] for entry in audit] == ["restore", "revoke", "reset", "change user", "invite"]
    assert {entry["address"] for entry in audit} == {ana.address}
    assert ana.get("/api/admin/audit?action=revoke").json[0]["about"] == "bob@acme.example"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/admin/users", {"email": "no email"}),
        ("POST", "/api/admin/users", {"email": EMAIL}),
        ("POST", "/api/admin/users", {"email": "x@acme.example", "role": "boss"}),
        ("POST", "/api/admin/users", {"email": "x@acme.example", "groups": ["x" * 101]}),
        ("PATCH", f"/api/admin/users/{EMAIL}", {"role": "viewer"}),
        ("POST", f"/api/admin/users/{EMAIL}/revoke", {}),
        ("POST", "/api/admin/users/nobody@acme.example/reset", {}),
        ("POST", "/api/account/tokens", {"name": " "}),
        ("POST", "/api/account/tokens", {"name": "x", "days": 0}),
        ("GET", "/api/admin/audit?limit=-1", None),
        ("GET", "/api/admin/audit?since=yesterday", None),
        ("GET", "/api/admin/audit?since=2026-11-01", None),
    ],
)
def test_mistakes_are_said(ana: Browser, method: str, path: str, body: object) -> None:
    answer = ana.ask(method, path, body=body)
    assert answer.status == 400
    assert answer.json["error"]


def test_a_script_of_another_site_cannot_send_a_form_for_json(ana: Browser) -> None:
    """The one kind of JSON that a form could send."""
    answer = ana.ask("POST", "/api/admin/users", form={'{"email":"eve@evil.example","name":"': '"}'})
    assert answer.status == 415


# Tokens


def test_a_token_lets_a_program_in(world: World, ana: Browser) -> None:
    made = token_of(ana, role="analyst")
    assert made["secret"].startswith("catchment_")
    me = with_token(world, made["secret"]).json
    assert (me["email"], me["role"], me["token"]) == (EMAIL, "analyst", made["id"])
    # No browser sends it by itself, so it needs no origin.
    assert with_token(world, made["secret"], "POST", "/d/x").status == 200
    socket = world.browser().websocket("/socket", {"authorization": f"bearer {made['secret']}"})
    assert socket == ["websocket.accept", "websocket.close"]
    [listed] = ana.get("/api/account").json["tokens"]
    assert listed["used_at"] is not None
    assert "secret" not in listed
    with world.state.reading() as transaction:
        assert made["secret"] not in repr(transaction.rows("SELECT * FROM tokens"))


def test_a_token_may_no_more_than_its_role_and_its_user(world: World, ana: Browser) -> None:
    secret = token_of(ana, role="viewer")["secret"]
    assert with_token(world, secret, target="/sql").status == 403
    analyst = signed_in(world, "ann@acme.example", "analyst")
    assert analyst.ask("POST", "/api/account/tokens", body={"name": "x", "role": "admin"}).status == 403
    secret = token_of(analyst, role="analyst")["secret"]
    assert with_token(world, secret, target="/sql").status == 200
    administration.change(world.state, "ann@acme.example", world.clock(), COMMAND, role="viewer")
    assert with_token(world, secret, target="/sql").status == 403


def test_a_token_ends(world: World, ana: Browser) -> None:
    week, ever = token_of(ana, days=7), token_of(ana, days=None)
    world.clock.advance(days=-1)
    assert [with_token(world, each["secret"]).status for each in (week, ever)] == [401, 200]
    world.clock.advance(days=8)
    assert [with_token(world, each["secret"]).status for each in (week, ever)] == [401, 200]
    ana = world.browser()
    assert ana.ask("POST", "/sign-in", body={"email": EMAIL, "password": PASSWORD}).status == 200
    bob = signed_in(world, "bob@acme.example", "admin")
    assert bob.ask("DELETE", f"/api/account/tokens/{ever['id']}").status == 404
    assert ana.ask("DELETE", f"/api/account/tokens/{ever['id']}").status == 200
    assert with_token(world, ever["secret"]).status == 401
    other = token_of(bob)["secret"]
    administration.revoke(world.state, "bob@acme.example", world.clock(), COMMAND)
    administration.restore(world.state, "bob@acme.example", world.clock(), COMMAND)
    assert with_token(world, other).status == 401


@pytest.mark.parametrize("given", ["", "x", "catchment_", "x" * 10_000, "ü", "{cookie}"])
def test_what_is_no_token_is_refused_beside_a_good_cookie(ana: Browser, given: str) -> None:
    [cookie] = ana.cookies.values()
    headers = {"authorization": f"Bearer {given.format(cookie=cookie)}"}
    assert ana.ask("GET", "/api/me", headers=headers).status == 401
    assert ana.ask("GET", "/api/me", headers={"authorization": "Basic eDp5"}).status == 200


def test_there_are_so_many_tokens_and_no_more(ana: Browser) -> None:
    for _ in range(own.MAX_TOKENS):
        token_of(ana)
    assert ana.ask("POST", "/api/account/tokens", body={"name": "x"}).status == 400


# One's own account


def test_a_password_is_changed_by_who_knows_the_old_one(world: World, ana: Browser) -> None:
    other = world.browser()
    other.ask("POST", "/sign-in", body={"email": EMAIL, "password": PASSWORD})
    change = {"old": "a guess", "new": "entirely other words"}
    assert ana.ask("POST", "/api/account/password", body=change).status == 400
    assert ana.ask("POST", "/api/account/password", body={"old": PASSWORD, "new": "short"}).status == 400
    assert ana.ask("POST", "/api/account/password", body=change | {"old": PASSWORD}).status == 200
    assert (ana.get("/api/me").status, other.get("/api/me").status) == (200, 401)
    again = world.browser()
    assert again.ask("POST", "/sign-in", body={"email": EMAIL, "password": PASSWORD}).status == 401
    for _ in range(3):
        ana.ask("POST", "/api/account/password", body=change)
    assert ana.ask("POST", "/api/account/password", body=change).status == 429


def test_who_found_a_browser_open_makes_no_password(world: World) -> None:
    sent = administration.sign_in_link(world.state, "demo@localhost.example", world.clock(), COMMAND, role="admin")
    browser = world.browser()
    assert browser.ask("POST", "/sign-in/link", body={"token": sent.secret}).status == 200
    change = {"old": "", "new": "entirely other words"}
    assert browser.ask("POST", "/api/account/password", body=change).status == 400


def test_sessions_elsewhere_are_seen_and_ended(world: World, ana: Browser) -> None:
    elsewhere = [world.browser(address=f"198.51.100.{at}") for at in (1, 2)]
    for browser in elsewhere:
        browser.ask(
            "POST", "/sign-in", body={"email": EMAIL, "password": PASSWORD}, headers={"user-agent": "Fire\x01fox"}
        )
    listed = ana.get("/api/account").json["sessions"]
    assert sorted((each["here"], each["address"], each["browser"]) for each in listed) == [
        (False, "198.51.100.1", "Firefox"),
        (False, "198.51.100.2", "Firefox"),
        (True, ana.address, ""),
    ]
    bob = signed_in(world, "bob@acme.example", "admin")
    one = next(each["id"] for each in listed if each["address"] == "198.51.100.1")
    assert bob.ask("DELETE", f"/api/account/sessions/{one}").status == 404
    assert ana.ask("DELETE", f"/api/account/sessions/{one}").status == 200
    assert [browser.get("/api/me").status for browser in elsewhere] == [401, 200]
    assert ana.ask("DELETE", "/api/account/sessions").json == {"ended": 1}
    assert [browser.get("/api/me").status for browser in (elsewhere[1], ana, bob)] == [401, 200, 200]
    with world.state.reading() as transaction:
        assert [each.about for each in Audit(transaction).latest(2)] == ["everywhere else", "elsewhere"]

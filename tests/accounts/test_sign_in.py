"""Signing in by password and by link, and what ends it."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from argon2 import PasswordHasher
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from catchment.errors import UsageError
from catchment.serve.accounts import Client, administration
from catchment.serve.accounts import accounts as limits
from catchment.serve.accounts.administration import COMMAND, VALID
from catchment.serve.accounts.passwords import Passwords, WeakPassword, check_password
from catchment.serve.config import ServeConfig, SignInConfig
from catchment.state.audit import Audit
from catchment.state.links import Purpose
from catchment.state.users import Users
from tests.accounts.asking import Answer, Browser, World, where
from tests.accounts.conftest import EMAIL, PASSWORD, signed_in


def sign_in(browser: Browser, email: str = EMAIL, password: str = PASSWORD) -> Answer:
    return browser.ask("POST", "/sign-in", body={"email": email, "password": password})


def test_by_password(world: World, ana: Browser) -> None:
    browser = world.browser()
    assert (sign_in(browser).status, browser.get("/api/me").json["role"]) == (200, "admin")
    assert browser.get("/api/me").json["email"] == EMAIL
    again = world.browser()
    assert sign_in(again, "  ANA@Acme.Example ").status == 200
    # Composed or not, full width or not: one password.
    assert sign_in(world.browser(), password="ｆour words of a kind").status == 200


@pytest.mark.parametrize("password", ["", "Four words of a kind", PASSWORD + " ", PASSWORD * 100, "\0"])
def test_not_by_another(world: World, ana: Browser, password: str) -> None:
    browser = world.browser()
    assert sign_in(browser, password=password).status == 401
    assert browser.cookies == {}


def test_what_is_said_does_not_tell_who_has_an_account(
    world: World, ana: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    administration.invite(world.state, "invited@acme.example", world.clock(), COMMAND, role="viewer")
    signed_in(world, "gone@acme.example", "viewer")
    administration.revoke(world.state, "gone@acme.example", world.clock(), COMMAND)
    verify, hashed = PasswordHasher.verify, []

    def watched(hasher: PasswordHasher, *given: str) -> bool:
        hashed.append(given[0])
        return verify(hasher, *given)

    monkeypatch.setattr(PasswordHasher, "verify", watched)
    answers = [
        sign_in(world.browser(address=f"198.51.100.{at}"), email, "not the password")
        for at, email in enumerate(
            (EMAIL, "nobody@acme.example", "invited@acme.example", "gone@acme.example", "'; drop", "x" * 9_000)
        )
    ]
    assert {(answer.status, answer.body, *sorted(answer.headers)) for answer in answers} == {
        (401, answers[0].body, *sorted(answers[0].headers))
    }
    # Each took the time of a hash, whether or not there was one.
    assert len(hashed) == 6
    form = world.browser().ask("POST", "/sign-in", form={"email": "a@b.c", "password": "x", "next": "/d/a"})
    assert where(form) == "/sign-in?error=refused&next=%2Fd%2Fa"


def test_guessing_is_slow_for_one_account_from_one_address(world: World, ana: Browser) -> None:
    attacker = world.browser(address="198.51.100.1")
    for _ in range(limits.MAX_ATTEMPTS_HERE):
        assert sign_in(attacker, password="guess").status == 401
    refused = sign_in(attacker)
    assert refused.status == 429
    assert 0 < int(refused.header("retry-after")) <= limits.ATTEMPTS_WINDOW.total_seconds() + 1
    # The right password is not even looked at, and the account stays open for others.
    assert sign_in(world.browser(address="198.51.100.2")).status == 200
    # One who waits as long as was said may try again.
    world.clock.advance(seconds=int(refused.header("retry-after")))
    assert sign_in(attacker).status == 200


def test_unknown_accounts_are_slow_alike(world: World) -> None:
    attacker = world.browser()
    statuses = [sign_in(attacker, "nobody@acme.example").status for _ in range(limits.MAX_ATTEMPTS_HERE + 1)]
    assert statuses == [401] * limits.MAX_ATTEMPTS_HERE + [429]


def test_guessing_at_many_accounts_from_one_network_is_slow(world: World, ana: Browser) -> None:
    """An IPv6 customer has a whole network of addresses."""
    statuses = [
        sign_in(world.browser(address=f"2001:db8::{at:x}"), f"user{at}@acme.example").status
        for at in range(limits.MAX_ATTEMPTS_OF_ADDRESS + 1)
    ]
    assert statuses == [401] * limits.MAX_ATTEMPTS_OF_ADDRESS + [429]
    assert sign_in(world.browser(address="2001:db8:0:1::1")).status == 200


def test_guessing_from_many_addresses_is_slow_and_does_not_lock_the_user_out(world: World, ana: Browser) -> None:
    for at in range(limits.MAX_ATTEMPTS_AT_ACCOUNT):
        assert sign_in(world.browser(address=f"198.51.{at}.1"), password="guess").status == 401
    assert sign_in(world.browser(address="198.51.200.1")).status == 429
    # Ana signed in from this address before.
    assert sign_in(world.browser(address=ana.address)).status == 200


def test_many_guesses_at_once_are_no_more(world: World, ana: Browser) -> None:
    async def guess() -> list[str]:
        client = Client("198.51.100.9", "")
        guesses = (world.accounts.sign_in(EMAIL, f"guess {number}", client) for number in range(40))
        return [type(error).__name__ for error in await asyncio.gather(*guesses, return_exceptions=True)]

    assert sorted(asyncio.run(guess())) == ["Refused"] * limits.MAX_ATTEMPTS_HERE + ["TooMany"] * (
        40 - limits.MAX_ATTEMPTS_HERE
    )


def test_right_passwords_are_not_counted(world: World, ana: Browser) -> None:
    browser = world.browser()
    assert {sign_in(browser).status for _ in range(2 * limits.MAX_ATTEMPTS_HERE)} == {200}


def test_a_clock_that_was_wrong_locks_nobody_out(world: World, ana: Browser) -> None:
    world.clock.advance(days=400)
    attacker = world.browser()
    while sign_in(attacker, password="guess").status != 429:
        pass
    world.clock.advance(days=-400)
    assert sign_in(attacker).status == 200


def test_a_session_is_new_with_each_sign_in(world: World, ana: Browser) -> None:
    """What somebody planted in the browser, or wrote down before, is worth nothing afterwards."""
    [(name, mine)] = ana.cookies.items()
    victim = world.browser()
    victim.cookies[name] = mine
    assert sign_in(victim).status == 200
    assert victim.cookies[name] != mine
    assert ana.get("/api/me").status == 401
    made_up = world.browser()
    made_up.cookies[name] = "A" * 43
    assert sign_in(made_up).status == 200
    assert made_up.cookies[name] != "A" * 43


def test_signing_out_ends_the_session_on_the_server(world: World, ana: Browser) -> None:
    kept = dict(ana.cookies)
    assert where(ana.ask("POST", "/sign-out", form={})) == "/sign-in"
    assert ana.cookies == {}
    ana.cookies = kept
    assert ana.get("/api/me").status == 401
    assert ana.ask("POST", "/sign-out", form={}).status == 303


def test_a_session_ends_unused_and_in_the_end(make_world: Callable[..., World]) -> None:
    config = ServeConfig(session_idle=timedelta(days=2), session_max=timedelta(days=5))
    world = make_world(config)
    used, unused = signed_in(world), world.browser()
    sign_in(unused)
    for day in range(1, 5):
        world.clock.advance(days=1)
        assert used.get("/api/me").status == 200
        if day == 2:
            assert unused.get("/api/me").status == 401
    world.clock.advance(days=1)
    assert used.get("/api/me").status == 401


def test_a_shorter_life_holds_for_sessions_that_began_before(make_world: Callable[..., World]) -> None:
    browser = signed_in(make_world(ServeConfig(session_max=timedelta(days=30))))
    world = make_world(ServeConfig(session_max=timedelta(days=1)))
    browser.app = world.app
    assert browser.get("/api/me").status == 200
    world.clock.advance(days=1)
    assert browser.get("/api/me").status == 401


def test_a_clock_set_back_prolongs_no_session(world: World, ana: Browser) -> None:
    world.clock.advance(minutes=-4)
    assert ana.get("/api/me").status == 200
    world.clock.advance(days=-1)
    assert ana.get("/api/me").status == 401


def test_who_is_revoked_is_out_at_once_and_stays_out(world: World, ana: Browser) -> None:
    browser = signed_in(world, "bob@acme.example", "viewer")
    pending = administration.reset(world.state, "bob@acme.example", world.clock(), COMMAND)
    administration.revoke(world.state, "bob@acme.example", world.clock(), COMMAND)
    assert browser.get("/api/me").status == 401
    assert sign_in(world.browser(), "bob@acme.example").status == 401
    assert use(world, pending.secret).status == 401
    administration.restore(world.state, "bob@acme.example", world.clock(), COMMAND)
    assert browser.get("/api/me").status == 401
    assert use(world, pending.secret).status == 401
    assert sign_in(world.browser(), "bob@acme.example").status == 200


def test_what_a_revoked_user_still_had_would_count_for_nothing(world: World, ana: Browser) -> None:
    """Revoking removes it; were something left, by a copy put back say, it would not do."""
    secret = ana.ask("POST", "/api/account/tokens", body={"name": "x"}).json["secret"]
    [account] = administration.users(world.state)
    with world.state.writing() as transaction:
        Users(transaction).set_revoked(account.id, world.clock())
    assert ana.get("/api/me").status == 401
    program = world.browser().ask("GET", "/api/me", headers={"authorization": f"Bearer {secret}"})
    assert program.status == 401


def test_another_role_is_in_force_at_once(world: World, ana: Browser) -> None:
    browser = signed_in(world, "bob@acme.example", "analyst")
    assert browser.get("/sql").status == 200
    administration.change(world.state, "bob@acme.example", world.clock(), COMMAND, role="viewer", groups=["x", "x "])
    assert browser.get("/sql").status == 403
    assert browser.get("/api/me").json["groups"] == ["x"]


def test_the_last_admin_stays(world: World, ana: Browser) -> None:
    administration.invite(world.state, "invited@acme.example", world.clock(), COMMAND, role="admin")
    with pytest.raises(UsageError, match="the last admin"):
        administration.revoke(world.state, EMAIL, world.clock(), COMMAND)
    with pytest.raises(UsageError, match="the last admin"):
        administration.change(world.state, EMAIL, world.clock(), COMMAND, role="viewer")
    assert ana.get("/api/me").json["role"] == "admin"
    signed_in(world, "bob@acme.example", "admin")
    administration.revoke(world.state, EMAIL, world.clock(), COMMAND)
    assert ana.get("/api/me").status == 401


# Links


def use(world: World, secret: str, password: str = PASSWORD, **more: str) -> Answer:
    return world.browser().ask("POST", "/sign-in/link", body={"token": secret, "password": password, **more})


def test_the_first_admin_comes_by_a_link(world: World) -> None:
    old = administration.first_link(world.state, world.clock())
    secret = administration.first_link(world.state, world.clock())
    assert old is not None
    assert secret is not None
    assert use(world, old, email=EMAIL).status == 401
    opened = world.accounts.look_at_link(secret)
    assert opened is not None
    assert (opened.purpose, opened.email, opened.wants_password) == ("first", None, True)
    assert use(world, secret, email="no email").json["code"] == "email"
    assert use(world, secret, "short", email=EMAIL).json["code"] == "password"
    assert use(world, secret, email=EMAIL, name="Ana").status == 200
    assert use(world, secret, email="eve@acme.example").status == 401
    assert administration.first_link(world.state, world.clock()) is None
    [ana] = administration.users(world.state)
    assert (ana.email, ana.name, ana.role) == (EMAIL, "Ana", "admin")


def test_a_first_link_is_worth_nothing_once_there_is_an_admin(world: World) -> None:
    secret = administration.first_link(world.state, world.clock())
    signed_in(world)
    assert secret is not None
    assert use(world, secret, email="eve@acme.example").status == 401


@pytest.mark.parametrize("purpose", ["first", "invite", "reset", "sign_in"])
def test_a_link_works_once_and_in_time(world: World, purpose: Purpose) -> None:
    def make() -> str:
        match purpose:
            case "first":
                secret = administration.first_link(world.state, world.clock())
                assert secret is not None
                return secret
            case "invite":
                return administration.invite(world.state, EMAIL, world.clock(), COMMAND, role="viewer").secret
            case "reset":
                return administration.reset(world.state, EMAIL, world.clock(), COMMAND).secret
            case "sign_in":
                return administration.sign_in_link(world.state, EMAIL, world.clock(), COMMAND, role="viewer").secret

    if purpose == "reset":
        signed_in(world)
    late = make()
    world.clock.advance(seconds=VALID[purpose].total_seconds())
    assert use(world, late, email=EMAIL).status == 401
    early = make()
    world.clock.advance(days=-1)
    assert use(world, early, email=EMAIL).status == 401
    world.clock.advance(days=1)
    replaced, secret = make(), make()
    assert use(world, replaced, email=EMAIL).status == 401
    for _ in range(3):
        assert world.accounts.look_at_link(secret) is not None
    assert use(world, secret, email=EMAIL).status == 200
    assert use(world, secret, email=EMAIL).status == 401
    assert world.accounts.look_at_link(secret) is None


def test_of_several_with_one_link_one_gets_in(world: World) -> None:
    secret = administration.invite(world.state, EMAIL, world.clock(), COMMAND, role="viewer").secret

    async def together() -> list[object]:
        client = Client("198.51.100.9", "")
        uses = (world.accounts.use_link(secret, client, password=PASSWORD) for _ in range(8))
        return list(await asyncio.gather(*uses, return_exceptions=True))

    assert sum(isinstance(each, limits.SignedIn) for each in asyncio.run(together())) == 1


def test_another_password_ends_all_sessions(world: World, ana: Browser) -> None:
    secret = administration.reset(world.state, EMAIL, world.clock(), COMMAND).secret
    assert ana.get("/api/me").status == 200
    assert use(world, secret, "entirely other words").status == 200
    assert ana.get("/api/me").status == 401
    assert sign_in(world.browser()).status == 401
    assert sign_in(world.browser(), password="entirely other words").status == 200


def test_an_invitation_is_no_way_into_an_account_in_use(world: World, ana: Browser) -> None:
    with pytest.raises(UsageError, match="is a user already"):
        administration.invite(world.state, EMAIL, world.clock(), COMMAND, role="admin")


def test_a_form_that_will_not_do_comes_back_with_its_link(world: World) -> None:
    sent = administration.invite(world.state, EMAIL, world.clock(), COMMAND, role="viewer")
    back = where(world.browser().ask("POST", "/sign-in/link", form={"token": sent.secret, "password": "short"}))
    assert parse_qs(urlsplit(back).query) == {"error": ["password"], "token": [sent.secret]}


@pytest.mark.parametrize(
    ("config", "address", "start"),
    [
        (ServeConfig(), None, "http://127.0.0.1:8080"),
        (ServeConfig(tls_certificate="a", tls_key="b"), None, "https://127.0.0.1:8080"),
        (ServeConfig(base_path="/data"), "http://127.0.0.1:9", "http://127.0.0.1:9/data"),
        (ServeConfig(base_path="/data"), "http://127.0.0.1:9/data", "http://127.0.0.1:9/data"),
        (ServeConfig(base_path="/data", public_url="https://a.example/"), "x", "https://a.example/data"),
    ],
)
def test_where_a_link_leads(config: ServeConfig, address: str | None, start: str) -> None:
    assert administration.link_url(config, "a-secret", address) == f"{start}/sign-in/link?token=a-secret"


# What is kept


def test_secrets_and_passwords_are_kept_as_hashes_alone(world: World, ana: Browser) -> None:
    sent = administration.reset(world.state, EMAIL, world.clock(), COMMAND)
    [cookie] = ana.cookies.values()
    sign_in(world.browser(), "my secret typed into the wrong field", "guess number one")
    with world.state.reading() as transaction:
        tables = [name for (name,) in transaction.rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
        kept = repr([transaction.rows(f"SELECT * FROM {table}") for table in tables])
    assert EMAIL in kept
    for secret in (cookie, sent.secret, PASSWORD, "guess number one", "my secret typed into the wrong field"):
        assert secret not in kept
    assert "$argon2id$" in kept


def test_a_hash_of_older_parameters_is_renewed(world: World, ana: Browser) -> None:
    before = administration.find(world.state, EMAIL).password_hash
    world.accounts.passwords = Passwords(memory_kib=16, passes=2)
    assert sign_in(world.browser(), password="wrong").status == 401
    assert administration.find(world.state, EMAIL).password_hash == before
    assert sign_in(world.browser()).status == 200
    after = administration.find(world.state, EMAIL).password_hash
    assert after is not None
    assert "m=16,t=2" in after
    assert sign_in(world.browser()).status == 200


def test_the_usual_parameters() -> None:
    assert "$argon2id$v=19$m=19456,t=2,p=1$" in Passwords().hash("x")


@pytest.mark.parametrize(
    "password", ["", "short", "x" * 201, "aaaaaaaaaaaaaaaa", "abababababab", "ana@acme.example1", "anaanaanaana!"]
)
def test_passwords_that_will_not_do(password: str) -> None:
    with pytest.raises(WeakPassword):
        check_password(password, EMAIL)


@settings(max_examples=50)
@given(st.text(max_size=220), st.text(max_size=220))
def test_a_password_fits_itself_and_its_other_spellings_alone(first: str, second: str) -> None:
    passwords = Passwords(memory_kib=8, passes=1)
    kept = passwords.hash(first)
    assert passwords.fits(first, kept) == (len(first) <= 200)
    same = unicodedata.normalize("NFKC", first) == unicodedata.normalize("NFKC", second)
    if len(second) <= 200 and "?" not in first + second:
        assert passwords.fits(second, kept) == same
    assert not passwords.fits(first, None)
    assert not passwords.fits(first, "no hash")


def test_without_passwords_none_is_taken(make_world: Callable[..., World]) -> None:
    world = make_world()
    signed_in(world)
    company = SignInConfig(passwords=False, issuer="https://id.acme.example", client_id="catchment")
    other = make_world(replace(world.config, sign_in=company))
    assert sign_in(other.browser()).status == 401


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"x" * 20_000, "application/x-www-form-urlencoded", 413),
        (b"{", "application/json", 400),
        (b'{"email": 1}', "application/json", 400),
        (b"[]", "application/json", 400),
        (b"&".join(b"a%d=1" % at for at in range(100)), "application/x-www-form-urlencoded", 400),
        (b"email=%ff\xff", "application/x-www-form-urlencoded", 400),
    ],
)
def test_what_is_no_form(world: World, body: bytes, kind: str, status: int) -> None:
    answer = world.browser().ask("POST", "/sign-in", raw=body, headers={"content-type": kind})
    if kind == "application/json":
        assert answer.status == status
    else:
        assert where(answer) == "/sign-in?error=form"


def test_every_sign_in_is_in_the_audit(world: World, ana: Browser) -> None:
    sign_in(world.browser(address="198.51.100.4"), password="guess")
    sign_in(world.browser(), "nobody@acme.example")
    ana.ask("POST", "/sign-out", form={})
    with world.state.reading() as transaction:
        entries = Audit(transaction).latest(10)
    told = [(each.action, each.outcome, each.who, each.address, each.about) for each in reversed(entries)]
    here = ana.address
    assert told == [
        ("invite", "done", "", "", f"{EMAIL}: as admin"),
        ("sign-in", "done", EMAIL, here, "link: invite"),
        ("sign-in", "refused", EMAIL, "198.51.100.4", "password"),
        ("sign-in", "refused", "", here, "password, unknown user"),
        ("sign-out", "done", EMAIL, here, ""),
    ]


def test_a_flood_of_attempts_is_turned_away(world: World, ana: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_HASHES_WAITING", 5)

    async def flood() -> list[str]:
        attempts = (
            world.accounts.sign_in(f"user{at}@acme.example", "guess", Client(f"198.51.{at}.1", "")) for at in range(50)
        )
        return [type(error).__name__ for error in await asyncio.gather(*attempts, return_exceptions=True)]

    found = asyncio.run(flood())
    assert set(found) == {"Refused", "TooMany"}
    assert sign_in(world.browser()).status == 200


def test_while_the_state_cannot_be_read_nobody_is_let_in(world: World, ana: Browser) -> None:
    world.state.close()
    assert ana.get("/d/a").status == 503
    assert ana.websocket("/socket", {"sec-fetch-site": "same-origin"}) == ["websocket.close"]
    stranger = world.browser()
    assert where(stranger.get("/d/a")) == "/sign-in?next=/d/a"
    assert sign_in(stranger).status == 503
    assert where(stranger.ask("POST", "/sign-in/link", form={"token": "x"})) == "/sign-in?error=unavailable"

"""Signing in with a company's accounts, before a provider that lies in every way we know."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc.jwk import OctKey, RSAKey

from catchment.serve.accounts import administration
from catchment.serve.accounts.administration import COMMAND
from catchment.serve.config import ServeConfig, SignInConfig
from catchment.state.audit import Audit
from catchment.state.users import Account
from tests.accounts.asking import HOST, Answer, Browser, World, where
from tests.accounts.conftest import EMAIL, signed_in
from tests.servers import openid
from tests.servers.openid import CLIENT_ID, CLIENT_SECRET, Provider


@pytest.fixture
def provider() -> Iterator[Provider]:
    with openid.running() as provider:
        yield provider


Make = Callable[..., World]


@pytest.fixture
def make(make_world: Make, provider: Provider) -> Make:
    def make(base_path: str = "", **sign_in: Any) -> World:
        settings = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "default_role": "viewer", **sign_in}
        config = ServeConfig(
            public_url=f"https://{HOST}",
            base_path=base_path,
            sign_in=SignInConfig(issuer=provider.address, **settings),
        )
        return make_world(config)

    return make


@pytest.fixture
def company(make: Make) -> World:
    return make()


def at_provider(location: str) -> str:
    """What the browser does there: the path and query it comes back with."""
    parts = urlsplit(location)
    connection = http.client.HTTPConnection(parts.netloc, timeout=20)
    try:
        connection.request("GET", f"{parts.path}?{parts.query}")
        answer = connection.getresponse()
        back = urlsplit(answer.headers["location"])
    finally:
        connection.close()
    assert back.netloc == HOST
    return f"{back.path}?{back.query}"


def come(
    browser: Browser, change: Callable[[str], str] = lambda back: back, start: str = "/sign-in/company"
) -> Answer:
    """The whole way there and back."""
    browser.site = "cross-site"
    return browser.get(change(at_provider(where(browser.get(start)))))


def users(world: World) -> dict[str, Account]:
    return {account.email: account for account in administration.users(world.state)}


def why(world: World) -> str:
    """What the audit says of the last one."""
    with world.state.reading() as transaction:
        [entry] = Audit(transaction).latest(1)
    assert (entry.action, entry.outcome) == ("sign-in", "refused"), entry
    return entry.about


def test_a_new_person_comes_in(company: World, provider: Provider) -> None:
    provider.claims = {"groups": ["support"]}
    browser = company.browser()
    assert where(come(browser, start="/sign-in/company?next=/d/a")) == "/d/a"
    ana = users(company)[EMAIL]
    assert (ana.name, ana.role, ana.groups, ana.subject) == ("Ana A.", "viewer", ("support",), "u1")
    [name] = browser.cookies
    assert name == f"__Host-catchment-{company.accounts.instance}"
    me = browser.get("/api/me").json
    assert (me["email"], me["groups"]) == (EMAIL, ["support"])
    # Known by the subject: the provider may rename the user.
    provider.claims = {"email": "ana.new@acme.example"}
    assert come(company.browser()).status == 303
    assert list(users(company)) == [EMAIL]


def test_below_a_base_path(make: Make) -> None:
    world = make("/data")
    browser = world.browser()
    browser.site = "cross-site"
    back = at_provider(where(browser.get("/data/sign-in/company?next=https://evil.example/")))
    assert back.startswith("/data/sign-in/company/back?")
    assert where(browser.get(back)) == "/data/"


LIES: list[tuple[dict[str, Any], str]] = [
    ({"nonce": "another"}, "nonce"),
    ({"nonce": None}, "nonce"),
    ({"aud": "another"}, "aud"),
    ({"aud": ["another", "third"]}, "aud"),
    ({"aud": None}, "aud"),
    ({"azp": "another"}, "azp"),
    ({"iss": "https://evil.example"}, "iss"),
    ({"iss": None}, "iss"),
    ({"exp": 978_307_200}, "Expired"),
    ({"exp": None}, "exp"),
    ({"iat": 4_102_444_800}, "issued in the future"),
    ({"sub": None}, "sub"),
    ({"sub": ""}, "sub"),
    ({"email": None}, "no email"),
    ({"email": "ana"}, "no email"),
    ({"email": ["ana@acme.example"]}, "no email"),
    ({"email_verified": False}, "not verified"),
    ({"email_verified": "false"}, "not verified"),
]


@pytest.mark.parametrize(("claims", "words"), LIES, ids=str)
def test_a_token_that_is_not_for_this_sign_in(
    company: World, provider: Provider, claims: dict[str, Any], words: str
) -> None:
    provider.claims = claims
    browser = company.browser()
    assert where(come(browser)) == "/sign-in?error=company"
    assert browser.cookies == {}
    assert words in why(company)
    assert users(company) == {}


@pytest.mark.parametrize("key", ["another RSA key", "the client's secret", "none"])
def test_a_token_that_another_has_signed(company: World, provider: Provider, key: str) -> None:
    match key:
        case "another RSA key":
            provider.key = RSAKey.generate_key(2048, {"kid": str(provider.own_key.kid)})
        case "the client's secret":
            provider.algorithm, provider.key = "HS256", OctKey.import_key(CLIENT_SECRET)
        case "none":
            provider.algorithm = "none"
    assert where(come(company.browser())) == "/sign-in?error=company"
    assert users(company) == {}


def test_a_key_that_is_renewed_meanwhile(company: World, provider: Provider) -> None:
    assert where(come(company.browser())) == "/"
    provider.renew_key()
    assert where(come(company.browser())) == "/"
    assert provider.seen.count("/.well-known/openid-configuration") == 1


CHANGES: list[Callable[[str], str]] = [
    lambda back: back.partition("&state=")[0] + "&state=forged",
    lambda back: back.partition("&state=")[0],
    lambda back: back.replace("code=", "kode="),
    lambda back: back.replace("code=", "code=x"),
    lambda back: back + "&iss=https%3A%2F%2Fevil.example",
    lambda back: "/sign-in/company/back?error=access_denied&" + back.partition("&")[2],
    lambda back: "/sign-in/company/back",
]


@pytest.mark.parametrize("change", CHANGES)
def test_an_answer_that_was_changed_on_its_way(company: World, change: Callable[[str], str]) -> None:
    browser = company.browser()
    assert where(come(browser, change)) == "/sign-in?error=company"
    assert browser.cookies == {}
    assert users(company) == {}


def test_nobody_is_signed_in_by_an_answer_for_another_browser(company: World) -> None:
    """An attacker who sends a link with a code of his own would have his victim work in his account."""
    attacker, victim = company.browser(), company.browser()
    back = at_provider(where(attacker.get("/sign-in/company")))
    assert where(victim.get(back)) == "/sign-in?error=company"
    at_provider(where(victim.get("/sign-in/company")))
    assert where(victim.get(back)) == "/sign-in?error=company"
    assert victim.get("/api/me").status == 401


def test_an_answer_works_once(company: World) -> None:
    browser = company.browser()
    back = at_provider(where(browser.get("/sign-in/company")))
    kept = dict(browser.cookies)
    assert where(browser.get(back)) == "/"
    assert where(company.browser().get(back)) == "/sign-in?error=company"
    again = company.browser()
    again.cookies = kept
    assert where(again.get(back)) == "/sign-in?error=company"


@pytest.mark.parametrize("value", ["", "x", "e30", "bnVsbA", "{}", "é"])
def test_a_made_up_flow(company: World, value: str) -> None:
    browser = company.browser()
    browser.get("/sign-in/company")
    [name] = browser.cookies
    browser.cookies[name] = value
    assert where(browser.get("/sign-in/company/back?code=a&state=b")) == "/sign-in?error=company"


def test_a_provider_that_is_down_or_another(company: World, make: Make, provider: Provider) -> None:
    provider.is_down = True
    assert where(company.browser().get("/sign-in/company")) == "/sign-in?error=provider"
    provider.is_down = False
    browser = company.browser()
    back = at_provider(where(browser.get("/sign-in/company")))
    provider.is_down = True
    assert where(browser.get(back)) in {"/sign-in?error=provider", "/sign-in?error=company"}
    provider.is_down = False
    assert where(come(company.browser())) == "/"
    for metadata in ({"issuer": "https://evil.example"}, {"issuer": None}):
        provider.metadata = metadata
        assert where(make().browser().get("/sign-in/company")) == "/sign-in?error=provider"


def test_only_some_domains(make: Make, provider: Provider) -> None:
    world = make(domains=["acme.example"])
    for email in ("eve@evil.example", "eve@acme.example.evil.example", "eve@sub.acme.example"):
        provider.claims = {"email": email, "sub": email}
        assert where(come(world.browser())) == "/sign-in?error=company"
        assert "none of the domains" in why(world)
    provider.claims = {"email": "Ana@ACME.example"}
    assert where(come(world.browser())) == "/"


def test_groups_give_roles_at_every_sign_in(make: Make, provider: Provider) -> None:
    world = make(default_role=None, roles={"data": "analyst", "heads": "admin"}, groups_claim="teams")
    signed_in(world, "first@acme.example", "admin")
    for teams, role in ((["support", "data"], "analyst"), (["data", "heads"], "admin"), ("data", "analyst")):
        provider.claims = {"teams": teams}
        assert where(come(world.browser())) == "/"
        assert users(world)[EMAIL].role == role
    assert users(world)[EMAIL].groups == ("data",)
    # Who has left the groups is no longer let in, whatever the role was.
    for left in ([], ["support"], None, {"data": 1}, 7):
        provider.claims = {"teams": left}
        assert where(come(world.browser())) == "/sign-in?error=company"
        assert "none of the groups" in why(world)


def test_the_last_admin_stays_whatever_the_groups_say(make: Make, provider: Provider) -> None:
    world = make(default_role="viewer", roles={"heads": "admin"})
    provider.claims = {"groups": ["heads"]}
    come(world.browser())
    provider.claims = {"groups": []}
    come(world.browser())
    assert users(world)[EMAIL].role == "admin"
    signed_in(world, "bob@acme.example", "admin")
    come(world.browser())
    assert users(world)[EMAIL].role == "viewer"


def test_without_a_default_role_only_who_is_invited(make: Make, provider: Provider) -> None:
    world = make(default_role=None)
    assert where(come(world.browser())) == "/sign-in?error=company"
    administration.invite(world.state, EMAIL, world.clock(), COMMAND, role="analyst", groups=["fraud"])
    assert where(come(world.browser())) == "/"
    ana = users(world)[EMAIL]
    assert (ana.role, ana.groups, ana.subject) == ("analyst", ("fraud",), "u1")


def test_an_account_is_one_persons_for_good(company: World, provider: Provider) -> None:
    assert where(come(company.browser())) == "/"
    provider.claims = {"sub": "u2"}
    assert where(come(company.browser())) == "/sign-in?error=company"
    assert "another one's" in why(company)


def test_who_is_revoked_stays_out(company: World) -> None:
    browser = company.browser()
    assert where(come(browser)) == "/"
    administration.revoke(company.state, EMAIL, company.clock(), COMMAND)
    assert browser.get("/api/me").status == 401
    assert where(come(browser)) == "/sign-in?error=company"
    assert "revoked" in why(company)


def test_what_the_token_lacks_is_asked_for(make: Make, provider: Provider) -> None:
    """Okta's tokens are thin."""
    world = make(default_role=None, roles={"data": "analyst"})
    provider.claims = {"email": None, "email_verified": None, "name": None}
    provider.more = {"sub": "u1", "email": EMAIL, "groups": ["data"], "name": "Ana"}
    assert where(come(world.browser())) == "/"
    assert users(world)[EMAIL].role == "analyst"
    provider.more = {"sub": "u2", "email": "eve@acme.example", "groups": ["data"]}
    assert where(come(world.browser())) == "/sign-in?error=company"
    assert "another one" in why(world)


def test_a_client_without_a_secret_is_told_of_it(make_world: Make, provider: Provider) -> None:
    """This provider wants one, and says so."""
    sign_in = SignInConfig(issuer=provider.address, client_id=CLIENT_ID, default_role="viewer")
    world = make_world(ServeConfig(public_url=f"https://{HOST}", sign_in=sign_in))
    assert where(come(world.browser())) == "/sign-in?error=company"
    assert "invalid_client" in why(world)


def test_it_is_there_only_where_it_is_configured(world: World, company: World) -> None:
    assert world.browser().get("/sign-in/company").json["path"] == "/sign-in/company"
    assert company.browser().get("/sign-in/company").status == 303


def test_what_the_browser_is_sent_there_with(company: World) -> None:
    browser = company.browser()
    asked = parse_qs(urlsplit(where(browser.get("/sign-in/company"))).query)
    assert asked["redirect_uri"] == [f"https://{HOST}/sign-in/company/back"]
    assert asked["code_challenge_method"] == ["S256"]
    assert asked["scope"] == ["openid email profile"]
    assert len(asked["nonce"][0]) == len(asked["state"][0]) == len(asked["code_challenge"][0]) == 43
    assert CLIENT_SECRET not in str(asked)
    [line] = browser.jar.values()
    assert {"Max-Age=600", "HttpOnly", "SameSite=Lax", "Secure", "Path=/"} <= set(line.split("; "))

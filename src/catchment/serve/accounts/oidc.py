"""Signing in with a company's accounts: OpenID Connect, the code flow with PKCE.

authlib makes the requests and checks signature, nonce and times. What is checked here besides: that the provider is
the configured one, that the token is for us and signed by a key that only the provider has, that the browser is the
one that began, and who of the provider's users may come in.
"""

from __future__ import annotations

import base64
import hmac
import logging
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from catchment.serve.accounts import administration
from catchment.serve.accounts.accounts import Accounts, Refused, SignedIn
from catchment.serve.accounts.emails import is_email, normal_email
from catchment.serve.accounts.user import Client
from catchment.serve.config import SignInConfig
from catchment.state import Transaction
from catchment.state.audit import Audit, Entry
from catchment.state.secrets import new_secret
from catchment.state.users import ROLES, Account, Role, Users

if TYPE_CHECKING:
    from authlib.integrations.starlette_client import StarletteOAuth2App

FLOW_MAX_AGE_S = 600
_ASYMMETRIC: Final = {
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519",
}  # fmt: skip
"""What is signed with our own client_secret, or not at all, anybody who knows that may have made."""
_METADATA_MAX_AGE_S = 3_600.0
_TIMEOUT_S = 10.0
_LEEWAY_S = 120


class Unreachable(Exception):
    """The provider does not answer, or not as it should."""


class NotLetIn(Refused):
    """The provider's word does not let this person in. `reason` is for the audit and the log."""

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason


class Flow(msgspec.Struct, frozen=True):
    """What a browser that went to the provider must bring back, kept in a cookie of its own meanwhile.

    It needs no signature: who writes one for another browser still needs a token of the provider's with this nonce,
    and would only be signed in as himself; `__Host-` keeps others from writing there at all.
    """

    state: str
    nonce: str
    verifier: str
    redirect_uri: str
    next: str = ""

    def written(self) -> str:
        """As the cookie's value."""
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode().rstrip("=")

    @classmethod
    def read(cls, value: str) -> Flow | None:
        """From the cookie's value; None for what is none."""
        try:
            return msgspec.json.decode(base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)), type=cls)
        except ValueError:  # msgspec's errors are, too
            return None


@dataclass(frozen=True, slots=True)
class Person:
    """What the provider says of somebody, all of it checked to be its word. `groups` is None where it says none."""

    issuer: str
    subject: str
    email: str
    name: str
    groups: tuple[str, ...] | None


class Company:
    """The provider that the project names."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._config: SignInConfig = accounts.config.sign_in
        assert self._config.issuer is not None
        self._issuer = self._config.issuer
        self._app: StarletteOAuth2App | None = None
        self._loaded_s = 0.0
        self._tls = ssl.create_default_context()  # once: authlib makes a client for each request
        logging.getLogger("authlib").setLevel(logging.WARNING)  # it writes the verifier at debug

    async def begin(self, redirect_uri: str, back: str) -> tuple[str, Flow]:
        """Where to send the browser, and what it must bring back. Raises `Unreachable`."""
        app = await self._client()
        flow = Flow(new_secret(), new_secret(), new_secret(), redirect_uri, back)
        found = await app.create_authorization_url(
            redirect_uri, state=flow.state, nonce=flow.nonce, code_verifier=flow.verifier
        )
        return found["url"], flow

    async def finish(
        self, answered: Mapping[str, str], flow: Flow | None, client: Client, old: str | None
    ) -> SignedIn:
        """Sign in whom the provider sent back. Raises `Unreachable`, `NotLetIn`."""
        try:
            person = await self._person(answered, flow)
            return await self._accounts.run(self._enter, person, client, old)
        except NotLetIn as error:
            await self._accounts.run(self._note_refusal, error.reason, client)
            raise

    async def _client(self) -> StarletteOAuth2App:
        """Its addresses are looked up again every hour; its keys also when it signs with a new one."""
        from authlib.integrations.starlette_client import OAuth

        if self._app is not None and time.monotonic() - self._loaded_s < _METADATA_MAX_AGE_S:
            return self._app
        config = self._config
        app = OAuth().register(
            "company",
            client_id=config.client_id,
            client_secret=config.client_secret,
            server_metadata_url=f"{self._issuer.rstrip('/')}/.well-known/openid-configuration",
            client_kwargs={
                "scope": " ".join(dict.fromkeys(["openid", *config.scopes])),
                "code_challenge_method": "S256",
                "timeout": _TIMEOUT_S,
                "verify": self._tls,
                **({} if config.client_secret else {"token_endpoint_auth_method": "none"}),
            },
        )
        metadata = await _asked(app.load_server_metadata())
        if metadata.get("issuer") != self._issuer:
            raise Unreachable(f"it says that it is {metadata.get('issuer')!r}, not {self._issuer!r}")
        offered = metadata.get("id_token_signing_alg_values_supported") or ["RS256"]
        metadata["id_token_signing_alg_values_supported"] = [each for each in offered if each in _ASYMMETRIC]
        self._app, self._loaded_s = app, time.monotonic()
        return app

    async def _person(self, answered: Mapping[str, str], flow: Flow | None) -> Person:
        if flow is None:
            raise NotLetIn("this browser has not begun to sign in, or too long ago")
        if not hmac.compare_digest(answered.get("state", "").encode(), flow.state.encode()):
            raise NotLetIn("the state is another one's")
        if "iss" in answered and answered["iss"] != self._issuer:  # RFC 9207: another provider's answer
            raise NotLetIn("the answer is another provider's")
        if answered.get("error") or not answered.get("code"):
            raise NotLetIn(f"the provider said {answered.get('error', 'nothing')[:60]!r}")
        app = await self._client()
        token = await _asked(
            app.fetch_access_token(redirect_uri=flow.redirect_uri, code=answered["code"], code_verifier=flow.verifier)
        )
        if not isinstance(token, Mapping) or "id_token" not in token:
            raise NotLetIn("the provider gave no ID token")
        claims = await self._claims(app, dict(token), flow.nonce)
        return self._read(claims)

    async def _claims(self, app: StarletteOAuth2App, token: dict[str, Any], nonce: str) -> dict[str, Any]:
        options = {
            "iss": {"essential": True, "value": self._issuer},
            "aud": {"essential": True, "value": self._config.client_id},
            "sub": {"essential": True},
        }
        claims = dict(await _asked(app.parse_id_token(token, nonce, claims_options=options, leeway=_LEEWAY_S)))
        lacks = "email" not in claims or (self._config.roles and self._config.groups_claim not in claims)
        if lacks and app.server_metadata.get("userinfo_endpoint") and "access_token" in token:
            more = dict(await _asked(app.userinfo(token=token)))
            if more.get("sub") != claims["sub"]:
                raise NotLetIn("what the provider says of the user is of another one")
            claims = {**more, **claims}
        return claims

    def _read(self, claims: Mapping[str, Any]) -> Person:
        subject, said = claims.get("sub"), claims.get("email")
        if not isinstance(subject, str) or not subject:
            raise NotLetIn("the provider names no subject")
        email = normal_email(said) if isinstance(said, str) else ""
        if not is_email(email):
            raise NotLetIn("the provider gives no email: scopes")
        if claims.get("email_verified") in (False, "false"):
            raise NotLetIn(f"the provider has not verified {email}")
        domain = email.rpartition("@")[2]
        if self._config.domains and domain not in self._config.domains:
            raise NotLetIn(f"{domain} is none of the domains")
        name = claims.get("name")
        return Person(
            self._issuer, subject, email, name if isinstance(name, str) else "", _groups(claims, self._config)
        )

    def _enter(self, person: Person, client: Client, old: str | None) -> SignedIn:
        with self._accounts.state.writing() as transaction:
            account = self._account(transaction, person)
            return self._accounts.enter(transaction, account, client, old, "company account")

    def _account(self, transaction: Transaction, person: Person) -> Account:
        users = Users(transaction)
        account = users.by_subject(person.issuer, person.subject) or users.by_email(person.email)
        if account is not None and account.revoked_at is not None:
            raise NotLetIn(f"{account.email} is revoked")
        if account is not None and account.subject not in {None, person.subject}:
            raise NotLetIn(f"{account.email} is another one's account at the provider")
        role = self._role(account, person)
        now = self._accounts.clock()
        if account is None:
            account = users.add(
                person.email, administration.name_of(person.name, person.email), role, person.groups or (), now
            )
        if account.subject is None:
            users.set_subject(account.id, person.issuer, person.subject)
        if role != account.role:
            users.set_role(account.id, role)
            if account.role == "admin" and not users.active_admins():
                users.set_role(account.id, account.role)  # groups at the provider leave no Catchment without an admin
        if person.groups is not None and set(person.groups) != set(account.groups):
            users.set_groups(account.id, person.groups)
        return users.get(account.id) or account

    def _role(self, account: Account | None, person: Person) -> Role:
        """Where groups give roles, they alone do, at every sign-in; else whoever is a user stays what he is."""
        given = [self._config.roles[group] for group in person.groups or () if group in self._config.roles]
        if given:
            return max(given, key=ROLES.index)
        if account is not None and not self._config.roles:
            return account.role
        if self._config.default_role is None:
            raise NotLetIn(f"{person.email} is in none of the groups that have a role, and invited by nobody")
        return self._config.default_role

    def _note_refusal(self, reason: str, client: Client) -> None:
        with self._accounts.state.writing() as transaction:
            now, about = self._accounts.clock(), f"company account: {reason}"
            Audit(transaction).add(
                Entry.of("sign-in", None, now, client.address, via="session", outcome="refused", about=about)
            )


def _groups(claims: Mapping[str, Any], config: SignInConfig) -> tuple[str, ...] | None:
    said = claims.get(config.groups_claim)
    if isinstance(said, str):
        said = [said]
    if not isinstance(said, Sequence):
        return None
    kept = [
        group for group in said if isinstance(group, str) and 0 < len(group) <= administration.MAX_GROUP_CHARACTERS
    ]
    # Those with a role first, in case there are more than are kept.
    kept.sort(key=lambda group: group not in config.roles)
    return tuple(kept[: administration.MAX_GROUPS])


async def _asked(answer: Any) -> Any:
    """What the provider answered, or what authlib made of it. Raises `Unreachable` or `NotLetIn`."""
    from authlib.common.errors import AuthlibBaseError
    from authlib.integrations.httpx_client.oauth2_client import httpx2
    from joserfc.errors import JoseError

    try:
        return await answer
    except (JoseError, AuthlibBaseError) as error:
        raise NotLetIn(f"{type(error).__name__}: {error}"[:200]) from error
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise Unreachable(f"{type(error).__name__}: {error}"[:200]) from error
    except (ValueError, KeyError, TypeError, RuntimeError) as error:  # an answer that is no JSON, or not as it should
        raise Unreachable(f"its answer makes no sense: {type(error).__name__}: {error}"[:200]) from error

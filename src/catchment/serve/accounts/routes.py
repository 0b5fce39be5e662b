"""The addresses that the sign-in's forms are sent to.

Forms are answered with 303: to the page wanted, or back to the form with `?error=`, one of `ERRORS`. What is sent as
JSON is answered as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from catchment.errors import CatchmentError, UsageError
from catchment.log import get_log
from catchment.serve.accounts.accounts import Accounts, Refused, SignedIn, TooMany
from catchment.serve.accounts.cookies import flow_name, session_secret, set_cookie
from catchment.serve.accounts.forms import BadForm, fields, is_json
from catchment.serve.accounts.local import way_back
from catchment.serve.accounts.oidc import FLOW_MAX_AGE_S, Company, Flow, NotLetIn, Unreachable
from catchment.serve.accounts.passwords import WeakPassword
from catchment.serve.accounts.user import client_of, current_user
from catchment.serve.accounts.visit import Visit, visit_of

_log = get_log("serve")

ERRORS: Final[Mapping[str, str]] = {
    "refused": "That email and password do not go together.",
    "wait": "Too many attempts. Wait a few minutes, then try again.",
    "link": "This link has been used or has expired. Ask an admin for another one.",
    "password": "Choose a password of at least 12 characters that others would not guess.",
    "email": "That is no email.",
    "company": "The company's sign-in did not let you in. Ask an admin.",
    "provider": "The company's sign-in cannot be reached. Try again.",
    "unavailable": "Signing in is not possible at the moment. Try again.",
    "form": "That was not understood. Try again.",
}
"""What `?error=` says, in words for the page."""


def of(accounts: Accounts) -> list[Route]:
    """The routes; paths are below the base path."""

    async def sign_in(request: Request) -> Response:
        form, failed = await _form(request, "/sign-in")
        if form is None:
            return failed
        back = {"next": form["next"]} if form.get("next") else {}
        try:
            signed_in = await accounts.sign_in(
                form.get("email", ""), form.get("password", ""), client_of(request), _old(request, accounts)
            )
        except TooMany as error:
            return _failed(request, "/sign-in", "wait", 429, wait_s=error.wait_s, back=back)
        except Refused:
            return _failed(request, "/sign-in", "refused", 401, back=back)
        except CatchmentError as error:
            return _unavailable(request, error)
        return _signed_in(request, accounts, signed_in, form.get("next"))

    async def use_link(request: Request) -> Response:
        form, failed = await _form(request, "/sign-in/link")
        if form is None:
            return failed
        token = form.get("token", "")
        try:
            signed_in = await accounts.use_link(
                token,
                client_of(request),
                email=form.get("email", ""),
                name=form.get("name", ""),
                password=form.get("password", ""),
                old=_old(request, accounts),
            )
        except TooMany as error:
            return _failed(request, "/sign-in/link", "wait", 429, wait_s=error.wait_s, back={"token": token})
        except Refused:
            return _failed(request, "/sign-in", "link", 401)
        except UsageError as error:
            code = "password" if isinstance(error, WeakPassword) else "email"
            return _failed(request, "/sign-in/link", code, 400, words=error.message, back={"token": token})
        except CatchmentError as error:
            return _unavailable(request, error)
        return _signed_in(request, accounts, signed_in, form.get("next"))

    async def sign_out(request: Request) -> Response:
        visit = visit_of(request)
        secret = _old(request, accounts)
        try:
            if secret:
                await accounts.run(accounts.sign_out, secret, client_of(request))
        except CatchmentError as error:
            return _unavailable(request, error)
        answer: Response = JSONResponse({}) if is_json(request) else _redirect(visit, "/sign-in")
        answer.headers.append("set-cookie", set_cookie(visit, accounts.instance, "", 0))
        answer.headers["clear-site-data"] = '"cache"'
        return answer

    return [
        Route("/sign-in", sign_in, methods=["POST"]),
        Route("/sign-in/link", use_link, methods=["POST"]),
        Route("/sign-out", sign_out, methods=["POST"]),
        Route("/api/me", _me, methods=["GET"]),
        *(_company(accounts, Company(accounts)) if accounts.config.sign_in.issuer else ()),
    ]


def _company(accounts: Accounts, company: Company) -> list[Route]:
    flow_cookie = flow_name(accounts.instance)

    async def begin(request: Request) -> Response:
        visit = visit_of(request)
        start = accounts.config.public_url or f"{'https' if visit.is_secure else 'http'}://{visit.header(b'host')}"
        redirect_uri = f"{start.rstrip('/')}{visit.site.url('/sign-in/company/back')}"
        try:
            where, flow = await company.begin(redirect_uri, request.query_params.get("next", "")[:2_000])
        except Unreachable as error:
            _log.error("the company's sign-in cannot be reached", exc=error)
            return _failed(request, "/sign-in", "provider", 503)
        answer = RedirectResponse(where, 303)
        answer.headers.append("set-cookie", set_cookie(visit, flow_cookie, flow.written(), FLOW_MAX_AGE_S))
        answer.headers["cache-control"] = "no-store"
        return answer

    async def back(request: Request) -> Response:
        visit = visit_of(request)
        flow = Flow.read(session_secret(visit, flow_cookie) or "")
        try:
            signed_in = await company.finish(request.query_params, flow, client_of(request), _old(request, accounts))
            answer = _signed_in(request, accounts, signed_in, flow.next if flow else None)
        except NotLetIn as error:
            _log.warning("the company's sign-in let somebody in whom we do not", reason=error.reason)
            answer = _failed(request, "/sign-in", "company", 403)
        except CatchmentError as error:
            answer = _unavailable(request, error)
        except Unreachable as error:
            _log.error("the company's sign-in cannot be reached", exc=error)
            answer = _failed(request, "/sign-in", "provider", 503)
        answer.headers.append("set-cookie", set_cookie(visit, flow_cookie, "", 0))
        return answer

    return [
        Route("/sign-in/company", begin, methods=["GET"]),
        Route("/sign-in/company/back", back, methods=["GET"]),
    ]


async def _me(request: Request) -> Response:
    return JSONResponse(current_user(request).described())


def _signed_in(request: Request, accounts: Accounts, signed_in: SignedIn, asked: str | None) -> Response:
    visit = visit_of(request)
    where = way_back(asked, visit.site.base_path)
    answer: Response = JSONResponse({"next": where}) if is_json(request) else RedirectResponse(where, 303)
    cookie = set_cookie(visit, accounts.instance, signed_in.secret, signed_in.max_age_s)
    answer.headers.append("set-cookie", cookie)
    answer.headers["cache-control"] = "no-store"
    return answer


def _failed(
    request: Request,
    path: str,
    code: str,
    status: int,
    *,
    words: str = "",
    wait_s: int = 0,
    back: Mapping[str, str] = {},
) -> Response:
    if is_json(request):
        answer: Response = JSONResponse({"error": words or ERRORS[code], "code": code}, status)
    else:
        answer = _redirect(visit_of(request), f"{path}?{urlencode({'error': code, **back})}")
    if wait_s:
        answer.headers["retry-after"] = str(wait_s)
    answer.headers["cache-control"] = "no-store"
    return answer


def _unavailable(request: Request, error: CatchmentError) -> Response:
    _log.error("accounts cannot be read or written", exc=error)
    return _failed(request, "/sign-in", "unavailable", 503)


async def _form(request: Request, path: str) -> tuple[Mapping[str, str], Response] | tuple[None, Response]:
    try:
        return await fields(request), Response()
    except BadForm as error:
        return None, _failed(request, path, "form", error.status, words=str(error))


def _redirect(visit: Visit, path: str) -> Response:
    return RedirectResponse(visit.site.url(path), 303)


def _old(request: Request, accounts: Accounts) -> str | None:
    return session_secret(visit_of(request), accounts.instance)

"""The pages of signing in; what their forms are sent to lies in `accounts.routes`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from catchment.serve.accounts.routes import ERRORS
from catchment.serve.accounts.user import user_or_none
from catchment.serve.web.site import Site


def of(site: Site) -> list[Route]:
    """The routes; paths are below the base path."""
    settings = site.config.sign_in

    async def sign_in(request: Request) -> Response:
        if user_or_none(request) is not None:
            return RedirectResponse(f"{site.base}/", 303)
        return site.page(
            request,
            "sign_in.html",
            title="Sign in",
            error=_error(request),
            next=request.query_params.get("next", ""),
            company=settings.label if settings.issuer else "",
            passwords=settings.passwords,
        )

    async def link(request: Request) -> Response:
        token = request.query_params.get("token", "")
        found = await site.accounts.run(site.accounts.look_at_link, token)
        return site.page(
            request,
            "link.html",
            200 if found else 410,
            title="Welcome",
            link=found,
            token=token,
            error=_error(request),
            next=request.query_params.get("next", ""),
        )

    return [Route("/sign-in", sign_in, methods=["GET"]), Route("/sign-in/link", link, methods=["GET"])]


def _error(request: Request) -> str:
    """What went wrong the time before; `words` of an answer are never shown, since anybody may make an address."""
    return ERRORS.get(request.query_params.get("error", ""), "")

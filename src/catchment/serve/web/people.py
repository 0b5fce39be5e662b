"""The pages of people: one's own account, and for admins everybody's. What they call lies in `accounts.api`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from catchment.serve.accounts import administration, current_user, require
from catchment.serve.accounts import own as own_account
from catchment.serve.tiles.tables import value_text
from catchment.serve.web.site import Site
from catchment.state.users import ROLES


def of(site: Site) -> list[Route]:
    """The routes; paths are below the base path."""

    async def account(request: Request) -> Response:
        user = current_user(request)
        tokens = await site.accounts.run(own_account.tokens_of, site.accounts, user)
        shown = [
            {
                "id": token.id,
                "name": token.name,
                "role": token.role,
                "used": value_text(token.used_at, site.zone) if token.used_at else "never",
                "until": value_text(token.expires_at, site.zone) if token.expires_at else "for good",
            }
            for token in tokens
        ]
        roles = ROLES[: ROLES.index(user.role) + 1]
        return site.page(request, "account.html", title="Your account", tokens=shown, roles=roles)

    async def everybody(request: Request) -> Response:
        users = await site.accounts.run(administration.users, site.accounts.state)
        shown = [
            {
                "email": each.email,
                "name": each.name,
                "role": each.role,
                "groups": ", ".join(sorted(each.groups)),
                "seen": value_text(each.signed_in_at, site.zone) if each.signed_in_at else "not yet",
                "is_revoked": each.revoked_at is not None,
            }
            for each in users
        ]
        return site.page(request, "people.html", title="People", people=shown, roles=ROLES)

    return [Route("/account", account), Route("/people", require("admin")(everybody))]

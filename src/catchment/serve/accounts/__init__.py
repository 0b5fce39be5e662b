"""Who is asking, and what they may: users, sign-in, sessions, tokens, audit. No page is made here.

For pages:

    from catchment.serve.accounts import User, current_user, require

    @require("analyst")
    async def editor(request: Request) -> Response:
        user = current_user(request)

`Access` is the middleware around the whole application, `Accounts` what stands behind it, `routes.of` the addresses
that pages' forms and programs call.
"""

from catchment.serve.accounts.user import Client, Forbidden, User, client_of, current_user, require
from catchment.state.users import Role

__all__ = ["Client", "Forbidden", "Role", "User", "client_of", "current_user", "require"]

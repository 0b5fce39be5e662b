"""The session's cookie: its name and its attributes."""

from __future__ import annotations

from catchment.serve.accounts.visit import Visit


def cookie_name(visit: Visit, instance: str) -> str:
    """`__Host-` keeps subdomains, and whoever sits on an unencrypted connection, from setting it; browsers want
    Path=/ and TLS for that. `instance` tells projects apart, since cookies know no ports."""
    name = f"catchment-{instance}"
    if not visit.is_secure:
        return name
    return f"__Host-{name}" if not visit.site.base_path else f"__Secure-{name}"


def flow_name(instance: str) -> str:
    """In place of `instance`: the cookie of a browser that has gone to the company's sign-in."""
    return f"{instance}-company"


def set_cookie(visit: Visit, instance: str, value: str, max_age_s: int) -> str:
    """The value of Set-Cookie; `max_age_s` 0 removes it."""
    parts = [
        f"{cookie_name(visit, instance)}={value}",
        f"Path={visit.site.base_path or '/'}",
        f"Max-Age={max_age_s}",
        "HttpOnly",
        "SameSite=Lax",
    ]
    return "; ".join([*parts, "Secure"] if visit.is_secure else parts)


def session_secret(visit: Visit, instance: str) -> str | None:
    """What the request's cookie holds, whether or not it still counts."""
    return visit.cookie(cookie_name(visit, instance))

"""`catchment admin`: who may sign in, and who did what. Works beside a server that runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import cast

import click
import msgspec

from catchment import presence
from catchment.cli.moments import moment
from catchment.cli.project import with_project
from catchment.cli.screen import visible
from catchment.config import Project
from catchment.errors import UsageError
from catchment.record import now
from catchment.serve.accounts import administration
from catchment.serve.accounts.administration import COMMAND, Sent, link_url
from catchment.state import State
from catchment.state.audit import Audit, Entry
from catchment.state.users import ROLES, Account, Role

_role = click.Choice(ROLES)
_json = click.option("--json", "is_json", is_flag=True, help="Print JSON.")


@click.group()
def admin() -> None:
    """See and change who may sign in; see who did what."""


@admin.group()
def user() -> None:
    """See and change users."""


@admin.command()
@with_project
@click.argument("email")
@click.option("--role", type=_role, default="viewer", show_default=True, help="What the user may.")
@click.option("--name", default="", metavar="TEXT", help="What the user is called.")
@click.option("--group", "groups", multiple=True, metavar="GROUP", help="A group the user is in; may be repeated.")
@_json
def invite(project: Project, email: str, role: str, name: str, groups: tuple[str, ...], is_json: bool) -> None:
    """Make a user, and the link by which that person signs in.

    Prints the link, which nobody sends for you. It works once, within seven days. Another invitation of somebody who
    has not signed in yet takes the place of the one before.
    """
    with _state(project) as state:
        sent = administration.invite(state, email, now(), COMMAND, role=cast(Role, role), name=name, groups=groups)
    _print_link(project, sent, is_json)


@user.command(name="list")
@with_project
@click.option("--json", "is_json", is_flag=True, help="Print one JSON object a line.")
def list_(project: Project, is_json: bool) -> None:
    """List all users by email."""
    with _state(project) as state:
        accounts = administration.users(state)
    width = max((len(account.email) for account in accounts), default=0)
    for account in accounts:
        if is_json:
            click.echo(msgspec.json.encode(_described(account)).decode())
        else:
            groups = f"  groups: {', '.join(account.groups)}" if account.groups else ""
            click.echo(visible(f"{account.email:<{width}}  {account.role:<7}  {_standing(account)}{groups}"))
    if not accounts and not is_json:
        click.echo("(nobody yet)\n  Try: catchment admin invite EMAIL --role admin", err=True)


@user.command()
@with_project
@click.argument("email")
@_json
def reset(project: Project, email: str, is_json: bool) -> None:
    """Make a link by which a user chooses another password.

    Prints the link, which works once, within a day. The present password and sessions hold until it is used.
    """
    with _state(project) as state:
        sent = administration.reset(state, email, now(), COMMAND)
    _print_link(project, sent, is_json)


@user.command()
@with_project
@click.argument("email")
@click.option("--role", type=_role, help="What the user may from now on.")
@click.option("--name", metavar="TEXT", help="What the user is called from now on.")
@click.option("--group", "groups", multiple=True, metavar="GROUP", help="In these groups alone; may be repeated.")
@click.option("--no-groups", is_flag=True, help="In no group.")
@_json
def change(
    project: Project,
    email: str,
    role: str | None,
    name: str | None,
    groups: tuple[str, ...],
    no_groups: bool,
    is_json: bool,
) -> None:
    """Change a user's role, name or groups, in force at once."""
    if no_groups and groups:
        raise UsageError("--group and --no-groups exclude each other", "one of them")
    if role is None and name is None and not groups and not no_groups:
        raise UsageError("nothing to change is given", "--role, --name, --group or --no-groups")
    with _state(project) as state:
        account = administration.change(
            state,
            email,
            now(),
            COMMAND,
            role=cast(Role | None, role),
            name=name,
            groups=groups if groups or no_groups else None,
        )
    _print_account(account, is_json)


@user.command()
@with_project
@click.argument("email")
@_json
def revoke(project: Project, email: str, is_json: bool) -> None:
    """Shut a user out at once: sessions, tokens and links end."""
    with _state(project) as state:
        _print_account(administration.revoke(state, email, now(), COMMAND), is_json)


@user.command()
@with_project
@click.argument("email")
@_json
def restore(project: Project, email: str, is_json: bool) -> None:
    """Let a revoked user sign in again."""
    with _state(project) as state:
        _print_account(administration.restore(state, email, now(), COMMAND), is_json)


@admin.command()
@with_project
@click.option("--user", "who", metavar="EMAIL", help="What this user did.")
@click.option("--action", "actions", multiple=True, metavar="NAME", help="Such as query or sign-in; may be repeated.")
@click.option("--since", metavar="TIME", help="At this time or later, such as 2026-11-23T10:00:00Z.")
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", default=100, show_default=True, help="At most so many."
)
@click.option("--json", "is_json", is_flag=True, help="Print one JSON object a line.")
def audit(
    project: Project, who: str | None, actions: tuple[str, ...], since: str | None, limit: int, is_json: bool
) -> None:
    """List who asked, signed in and changed accounts, the latest first."""
    with _state(project) as state, state.reading() as transaction:
        entries = Audit(transaction).latest(
            limit, who=None if who is None else who.lower(), actions=actions, since=moment(since)
        )
    if is_json:
        for entry in entries:
            click.echo(msgspec.json.encode(entry).decode())
    else:
        _print_entries(entries)


@contextlib.contextmanager
def _state(project: Project) -> Iterator[State]:
    with contextlib.closing(project.state.open()) as state:
        yield state


def _print_link(project: Project, sent: Sent, is_json: bool) -> None:
    running = presence.service(project.runtime, "serve")
    address = running.address if running is not None and running.alive else None
    link = link_url(project.serve, sent.secret, address)
    if is_json:
        said = {"link": link, "expires_at": sent.expires_at, **_described(sent.account)}
        click.echo(msgspec.json.encode(said).decode())
        return
    click.echo(link)
    until = f"{sent.expires_at:%Y-%m-%d %H:%M} UTC"
    click.echo(visible(f"for {sent.account.email}, {sent.account.role}; works once, until {until}"), err=True)


def _print_account(account: Account, is_json: bool) -> None:
    if is_json:
        click.echo(msgspec.json.encode(_described(account)).decode())
    else:
        groups = ", ".join(account.groups) or "none"
        click.echo(visible(f"{account.email}  {account.role}  {_standing(account)}  groups: {groups}"))


def _described(account: Account) -> dict[str, object]:
    return {
        "email": account.email,
        "name": account.name,
        "role": account.role,
        "groups": account.groups,
        "created_at": account.created_at,
        "signed_in_at": account.signed_in_at,
        "revoked_at": account.revoked_at,
    }


def _standing(account: Account) -> str:
    if account.revoked_at is not None:
        return f"revoked {account.revoked_at:%Y-%m-%d}"
    if account.signed_in_at is None:
        return "invited"
    return f"signed in {account.signed_in_at:%Y-%m-%d %H:%M}"


def _print_entries(entries: Sequence[Entry]) -> None:
    for entry in entries:
        took = "" if entry.ms is None else f"  {entry.ms:,} ms"
        rows = "" if entry.rows is None else f"  {entry.rows:,} row{'' if entry.rows == 1 else 's'}"
        outcome = "" if entry.outcome == "done" else f"  {entry.outcome}"
        who = entry.who or ("-" if entry.via != "command" else "command")
        about = "  ".join(filter(None, [entry.about, " ".join((entry.sql or "").split())]))
        line = f"{entry.at:%Y-%m-%d %H:%M:%S}  {who}  {entry.action}{outcome}{took}{rows}  {entry.address}  {about}"
        click.echo(visible(line.rstrip()))

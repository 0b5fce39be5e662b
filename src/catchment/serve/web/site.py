"""What all pages share: the project's names, the assets, the parts behind them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from catchment.serve.accounts import User, current_user
from catchment.serve.accounts.accounts import Accounts
from catchment.serve.accounts.recorder import Recorder
from catchment.serve.accounts.user import user_or_none
from catchment.serve.asking import Asking
from catchment.serve.catalogue import Catalogue
from catchment.serve.config import ServeConfig
from catchment.serve.dashboards.board import Board
from catchment.serve.library import Entry, Library
from catchment.serve.tiles.palette import Palette
from catchment.serve.tiles.view import View, Viewer, view_of
from catchment.serve.uploads.uploads import Uploads
from catchment.serve.warehouse import Asked
from catchment.serve.web.assets import Assets
from catchment.serve.web.templates import render
from catchment.serve.web.turns import Turns
from catchment.state import Transaction

T = TypeVar("T")

PLACES = (
    ("home", "/", "Home"),
    ("dashboards", "/dashboards", "Dashboards"),
    ("sql", "/sql", "SQL"),
    ("catalogue", "/catalogue", "Catalogue"),
)
UPLOAD = ("upload", "/upload", "Upload")
"""The place that is for analysts, where files are taken."""
THEMES = {"light", "dark"}


class Closed(Exception):
    """A dashboard that is for other groups."""

    def __init__(self, board: Board) -> None:
        super().__init__(board.title)
        self.title = f"{board.title} is for {' or '.join(board.groups)}"
        self.whom = f"Ask {board.owner}, who owns it." if board.owner else "Ask an admin."


@dataclass(frozen=True, slots=True)
class Site:
    """Everything that a page may need."""

    project: str
    zone: ZoneInfo
    config: ServeConfig
    assets: Assets
    accounts: Accounts
    library: Library
    asked: Asked
    asking: Asking
    catalogue: Catalogue
    palette: Palette
    recorder: Recorder
    turns: Turns
    dialect: str
    uploads: Uploads | None
    """None where no files are taken."""

    @property
    def base(self) -> str:
        """What every address begins with."""
        return self.config.base_path

    async def in_state(self, do: Callable[[Transaction], T]) -> T:
        """What is done to the state in one transaction, in a thread."""

        def call() -> T:
            with self.accounts.state.writing() as transaction:
                return do(transaction)

        return await self.accounts.run(call)

    async def view(self, request: Request, board: Board, *, is_chosen: bool = True, all_lists: bool = False) -> View:
        """The board as the request's address chooses, or as it is before anything is chosen. Raises `AddressError`.
        What begins with an underscore is the page's own."""
        pairs = parse_qsl(request.url.query, keep_blank_values=True) if is_chosen else []
        chosen = [(name, value) for name, value in pairs if not name.startswith("_")]
        user = current_user(request)
        viewer = Viewer(user.email, may_write=user.may("analyst"))
        return await view_of(board, chosen, viewer, self.zone, self.asking, all_lists=all_lists, base=self.base)

    def entry_of(self, request: Request) -> tuple[Entry | None, Response | None]:
        """The dashboard that the address names, or the answer that there is none for this user."""
        entry = self.library.entry(request.path_params["name"])
        if entry is None:
            return None, self.message(
                request, 404, "There is no such dashboard", "It may have been renamed, or removed.", back="/dashboards"
            )
        if not current_user(request).sees(entry.board.groups):
            closed = Closed(entry.board)
            return None, self.message(request, 403, closed.title, closed.whom, back="/dashboards")
        return entry, None

    def text(self, request: Request, template: str, /, **values: Any) -> str:
        """A page's HTML. `here` names the place of the menu that it belongs to."""
        user = user_or_none(request)
        theme = request.cookies.get("theme", "")
        shared: Mapping[str, Any] = {
            "project": self.project,
            "base": self.base,
            "asset": self.assets.address,
            "theme": theme if theme in THEMES else "",
            "places": (*PLACES, UPLOAD) if self.takes_files(user) else PLACES,
            "here": "",
            "user": user,
            "initials": initials(user) if user else "",
        }
        return render(template, **{**shared, **values})

    def takes_files(self, user: User | None) -> bool:
        """Whether this user may upload."""
        return self.uploads is not None and user is not None and user.may("analyst")

    def page(self, request: Request, template: str, /, status: int = 200, **values: Any) -> Response:
        """A page as an answer."""
        return HTMLResponse(self.text(request, template, **values), status)

    def message(self, request: Request, status: int, title: str, *lines: str, back: str = "/") -> Response:
        """A page that says one thing."""
        return self.page(
            request, "message.html", status, title=title, lines=lines, back=self.base + back, back_label="Go back"
        )


def initials(user: User) -> str:
    """Two letters for who is signed in."""
    words = [word for word in user.name.replace(".", " ").split() if word[0].isalnum()]
    found = "".join(word[0] for word in words[:2]) or user.email[:2]
    return found.upper()

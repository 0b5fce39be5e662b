"""One company that runs and one browser, for all tests of the pages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.missing import without
from tests.serve.browser.company import Company, running
from tests.serve.browser.watching import Visitor, chromium


@pytest.fixture(scope="package")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    """It runs until the last test of the pages."""
    with running(tmp_path_factory.mktemp("pages") / "shop") as company:
        yield company


# Of the package, not the session: Playwright's loop runs as long as it does, and other tests start loops of their own.
@pytest.fixture(scope="package")
def analyst(company: Company) -> Iterator[Visitor]:
    """An admin, who may do all that analysts may."""
    with chromium(without) as browser:
        yield Visitor(browser, company, "ada@example.com", "admin", "Ada <b>Byron</b>")


@pytest.fixture(scope="package")
def viewer(analyst: Visitor) -> Visitor:
    """Somebody who only looks."""
    return Visitor(analyst.browser, analyst.company, "vic@example.com", "viewer", "Vic")

"""The rig that most tests of loading work with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.load.loading import Rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared_rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One for all tests of a module, each with tables of its own: hypothesis wants no new one for each example."""
    made = Rig(tmp_path_factory.mktemp("rig"))
    yield made
    made.close()

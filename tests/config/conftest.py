"""What the tests of configuration share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.small_adapters import no_secrets, small_adapters

__all__ = ["no_secrets", "small_adapters"]


@pytest.fixture
def project_folder(tmp_path: Path, small_adapters: object) -> Callable[..., Path]:
    """Writes catchment.toml, and .env if given, into a folder of its own."""

    def write(text: str, env: str | None = None) -> Path:
        (tmp_path / "catchment.toml").write_text(text)
        if env is not None:
            (tmp_path / ".env").write_text(env)
        return tmp_path

    return write

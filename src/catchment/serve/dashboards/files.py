"""Where a project's dashboards lie."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = "dashboards"
SUFFIX = ".md"
MAX_BYTES = 1_000_000


def dashboard_files(root: Path) -> list[Path]:
    """The project's dashboards: `dashboards/**/*.md`, hidden files and folders left out, in order."""
    found: list[Path] = []
    for folder, folders, files in os.walk(root / FOLDER):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = (Path(folder) / name for name in files if name.endswith(SUFFIX) and not name.startswith("."))
        found += [path for path in paths if path.is_file()]
    return sorted(found)

"""The project file: catchment.toml, its profiles and variables, read into a `Project`."""

from catchment.config.mistakes import ConfigError, Mistake
from catchment.config.project import (
    PROJECT_FILE,
    RUNTIME_FOLDER,
    Part,
    Project,
    find_project,
)
from catchment.config.reading import find_mistakes, load_project
from catchment.config.sections import MetricsConfig

__all__ = [
    "PROJECT_FILE",
    "RUNTIME_FOLDER",
    "ConfigError",
    "MetricsConfig",
    "Mistake",
    "Part",
    "Project",
    "find_mistakes",
    "find_project",
    "load_project",
]

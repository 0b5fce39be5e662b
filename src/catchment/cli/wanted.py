"""What the project's other parts want of the loader, which knows none of them."""

from __future__ import annotations

from catchment.collect.tables import USUAL_TABLES, users_of
from catchment.config import Project
from catchment.load.loader import Wanted


def wanted_of(project: Project) -> Wanted:
    """Of each source that collects the usual tables, whatever the limits, and a view of its users."""
    schemas = project.collect.sources
    return Wanted(
        frozenset(f"{schema}.{table}" for schema in schemas for table in USUAL_TABLES),
        tuple(users_of(schema) for schema in schemas),
    )

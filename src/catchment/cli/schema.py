"""`catchment schema`: what a record and a project file look like, as JSON Schema."""

from __future__ import annotations

import json
from typing import Any

import click

from catchment.config.schema import project_schema
from catchment.record import json_schema


@click.group()
def schema() -> None:
    """Print JSON Schemas."""


@schema.command()
def record() -> None:
    """Print the schema of a record.

    For whoever sends one to a queue.
    """
    _print(json_schema())


@schema.command()
def project() -> None:
    """Print the schema of catchment.toml.

    Editors complete and check the file by it.
    """
    _print(project_schema())


def _print(document: dict[str, Any]) -> None:
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))

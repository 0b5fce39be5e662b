"""Catchment: every event, message, table and CSV of a company in one warehouse, exactly once."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`catchment.connect`, without loading it for whoever does not ask."""
    if name == "connect":
        return import_module("catchment.client").connect
    raise AttributeError(f"module 'catchment' has no attribute {name!r}")

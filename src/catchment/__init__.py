"""Catchment: every event, message, table and CSV of a company in one warehouse, exactly once."""

__version__ = "0.1.0"

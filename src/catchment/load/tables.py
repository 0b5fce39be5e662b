"""Which tables the warehouse has."""

from __future__ import annotations

from catchment.record import OWN_SCHEMA
from catchment.warehouses import Warehouse
from catchment.warehouses.rows import rows_of

_TABLES = f"""
SELECT table_schema, table_name FROM information_schema.columns
JOIN information_schema.tables USING (table_catalog, table_schema, table_name)
WHERE column_name = '_received_at' AND table_type = 'BASE TABLE' AND table_schema <> '{OWN_SCHEMA}' ORDER BY 1, 2
"""


def table_names(warehouse: Warehouse) -> list[str]:
    """Every loaded table, by name; Catchment's own are none of them."""
    return [f"{schema}.{name}" for schema, name in rows_of(warehouse, _TABLES)]

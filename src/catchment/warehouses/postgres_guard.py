"""Users' queries on PostgreSQL: what a read-only transaction leaves open, closed by the names that a query has.

What a role may read its rights say; but the role may be the loader's, and some functions act in spite of a read-only
transaction: they end others' sessions, read the server's files, take locks, change the role. PostgreSQL marks all of
them as volatile, and says so itself of functions that extensions bring.
"""

from __future__ import annotations

from catchment.errors import UsageError
from catchment.sql.lexer import Token, tokens
from catchment.warehouses.postgres_connections import Connection

HARMLESS = frozenset(
    {
        "bernoulli", "clock_timestamp", "gen_random_uuid", "pg_database_size", "pg_indexes_size", "pg_relation_size",
        "pg_table_size", "pg_total_relation_size", "random", "random_normal", "system", "timeofday",
    }
)  # fmt: skip
"""Volatile all the same: two are ways of TABLESAMPLE."""
NOT_VOLATILE_BUT = frozenset(
    {
        # take SQL as a text, in which these names are not looked for
        "connectby", "crosstab", "crosstab2", "crosstab3", "crosstab4", "dblink", "query_to_xml", "ts_stat",
        "xpath_table",
        # take a transaction's number; tell of settings
        "current_setting", "pg_config", "pg_current_xact_id", "pg_show_all_settings", "txid_current",
    }
)  # fmt: skip
OTHERS_QUERIES = ("pg_stat_get_activity", "pg_stat_get_backend_", "pg_stat_get_wal_")
CLOSED = frozenset(
    {
        "pg_authid", "pg_backend_memory_contexts", "pg_file_settings", "pg_hba_file_rules", "pg_ident_file_mappings",
        "pg_largeobject", "pg_prepared_statements", "pg_settings", "pg_shadow", "pg_shmem_allocations",
        "pg_stat_activity", "pg_stat_ssl", "pg_stat_gssapi", "pg_stat_statements", "pg_statistic", "pg_stats",
        "pg_stats_ext", "pg_subscription", "pg_user_mapping", "pg_user_mappings",
    }
)  # fmt: skip
"""Catalogue tables with passwords, settings, and others' statements and values, which a superuser would see."""

_VOLATILE = "SELECT DISTINCT proname FROM pg_proc WHERE proname = ANY (%s) AND provolatile = 'v' ORDER BY proname"


def check_allowed(connection: Connection, sql: str) -> None:
    """Raise `UsageError` where a query calls or reads what it may not."""
    loud = [token for token in tokens(sql, "postgres") if not token.is_silent]
    _check_escapes(loud)
    names = [_folded(token) for token in loud]
    for name in names:
        if name in CLOSED:
            raise UsageError(f"{name} is not for queries: it tells of settings, passwords or others' queries")
    called = {name for at, name in enumerate(names[:-1]) if name and loud[at + 1].text == "("}
    acting = {name for name in called if name in NOT_VOLATILE_BUT or name.startswith(OTHERS_QUERIES)}
    if called and not acting:
        acting = {name for (name,) in connection.execute(_VOLATILE, [sorted(called)])} - HARMLESS
    if acting:
        raise UsageError(
            f"{min(acting)}() is not for queries: it may do more than read",
            "functions that PostgreSQL marks as stable or immutable, and random()",
        )


def _check_escapes(loud: list[Token]) -> None:
    """U&"..." would be a name that is written otherwise."""
    for at, token in enumerate(loud[:-2]):
        if token.word == "u" and loud[at + 1].text == "&" and loud[at + 2].kind == "name":
            raise UsageError('U&"…" is not for queries', "the name itself, within quotes")


def _folded(token: Token) -> str:
    """The name that PostgreSQL has for a token; nothing where it is none."""
    if token.kind == "word":
        return token.text.lower()
    return token.text[1:-1].replace('""', '"') if token.kind == "name" else ""

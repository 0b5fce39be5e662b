"""The tables of the state, version by version, in the SQL that SQLite and PostgreSQL share.

A version that has been released is never changed: what is new is another one, whose statements bring an older state
up to it. Secrets (sessions, links, tokens) are kept as their SHA-256 alone: whoever reads a copy of the state cannot
sign in with it. They are 256 random bits, so that nothing slower is needed; passwords have argon2.
"""

from __future__ import annotations

from collections.abc import Sequence

_ACCOUNTS = """
CREATE TABLE facts (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);
CREATE TABLE users (
    id            TEXT PRIMARY KEY,
    email         TEXT NOT NULL UNIQUE,
    name          TEXT NOT NULL,
    role          TEXT NOT NULL,
    groups_json   TEXT NOT NULL,
    password_hash TEXT,
    issuer        TEXT,
    subject       TEXT,
    created_at    BIGINT NOT NULL,
    signed_in_at  BIGINT,
    revoked_at    BIGINT,
    UNIQUE (issuer, subject)
);
CREATE TABLE sessions (
    hash       TEXT PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE,
    user_id    TEXT NOT NULL REFERENCES users (id),
    created_at BIGINT NOT NULL,
    seen_at    BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    address    TEXT NOT NULL,
    browser    TEXT NOT NULL
);
CREATE INDEX sessions_of_user ON sessions (user_id);
CREATE TABLE links (
    hash       TEXT PRIMARY KEY,
    purpose    TEXT NOT NULL,
    user_id    TEXT REFERENCES users (id),
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE TABLE tokens (
    hash       TEXT PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE,
    user_id    TEXT NOT NULL REFERENCES users (id),
    name       TEXT NOT NULL,
    role       TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    used_at    BIGINT
);
CREATE INDEX tokens_of_user ON tokens (user_id);
CREATE TABLE attempts (
    id   TEXT NOT NULL,
    name TEXT NOT NULL,
    at   BIGINT NOT NULL,
    PRIMARY KEY (name, id)
);
CREATE INDEX attempts_by_time ON attempts (at);
"""

_AUDIT = """
CREATE TABLE audit (
    id      BIGINT PRIMARY KEY,
    at      BIGINT NOT NULL,
    action  TEXT NOT NULL,
    outcome TEXT NOT NULL,
    user_id TEXT,
    who     TEXT NOT NULL,
    via     TEXT NOT NULL,
    address TEXT NOT NULL,
    about   TEXT NOT NULL,
    sql     TEXT,
    tables_json TEXT,
    ms      BIGINT,
    rows_count  BIGINT
);
CREATE INDEX audit_by_time ON audit (at);
CREATE INDEX audit_of_user ON audit (user_id, at);
"""

_WORKSPACE = """
CREATE TABLE drafts (
    user_id    TEXT NOT NULL REFERENCES users (id),
    path       TEXT NOT NULL,
    content    TEXT NOT NULL,
    base       TEXT NOT NULL,
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, path)
);
CREATE TABLE favourites (
    user_id   TEXT NOT NULL REFERENCES users (id),
    dashboard TEXT NOT NULL,
    PRIMARY KEY (user_id, dashboard)
);
CREATE TABLE saved_queries (
    id         TEXT PRIMARY KEY,
    user_id    TEXT NOT NULL REFERENCES users (id),
    title      TEXT NOT NULL,
    sql        TEXT NOT NULL,
    is_shared  BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL
);
CREATE INDEX saved_queries_of_user ON saved_queries (user_id);
CREATE TABLE query_history (
    user_id    TEXT NOT NULL REFERENCES users (id),
    id         BIGINT NOT NULL,
    at         BIGINT NOT NULL,
    sql        TEXT NOT NULL,
    outcome    TEXT NOT NULL,
    ms         BIGINT NOT NULL,
    rows_count BIGINT,
    error      TEXT NOT NULL,
    PRIMARY KEY (user_id, id)
);
CREATE TABLE editor_tabs (
    user_id    TEXT NOT NULL REFERENCES users (id),
    id         TEXT NOT NULL,
    title      TEXT NOT NULL,
    sql        TEXT NOT NULL,
    place      BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, id)
);
CREATE TABLE shared_queries (
    id         TEXT PRIMARY KEY,
    user_id    TEXT NOT NULL REFERENCES users (id),
    title      TEXT NOT NULL,
    sql        TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX shared_queries_of_user ON shared_queries (user_id);
"""

_VIEWS = """
CREATE TABLE views (
    dashboard TEXT NOT NULL,
    day       BIGINT NOT NULL,
    views     BIGINT NOT NULL,
    PRIMARY KEY (dashboard, day)
);
"""

VERSIONS: Sequence[str] = (_ACCOUNTS + _AUDIT, _WORKSPACE, _VIEWS)
"""What each version adds. The format version of a state is how many of them it has had."""


def statements(script: str) -> list[str]:
    """A version's statements one by one; none holds a semicolon of its own."""
    return [statement for statement in map(str.strip, script.split(";")) if statement]

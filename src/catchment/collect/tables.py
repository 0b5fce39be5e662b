"""The tables of a source, as in Segment's warehouse schema, and the view of its users."""

from __future__ import annotations

from catchment.warehouses import LatestView

TABLES = {
    "identify": "identifies",
    "page": "pages",
    "screen": "screens",
    "group": "groups",
    "alias": "aliases",
}
"""Kind of call → its table."""

USUAL_TABLES = ("tracks", *TABLES.values())
"""What every source may have, whatever its events are called."""

TAKEN = frozenset({*USUAL_TABLES, "users", "accounts", "other_events"})
"""No event's table: an event of such a name gets a prefix. `other_events` is the loader's, for events beyond the limit
of tables."""


def users_of(schema: str) -> LatestView:
    """Each user's latest value of every trait and of the context, as Segment's `users` has them. A view, since whole
    rows replaced would empty traits, and traits merged in place would lose what comes late."""
    return LatestView(
        view=f"{schema}.users",
        table=f"{schema}.identifies",
        key="user_id",
        key_column="id",
        order="timestamp",
        without=("id", "anonymous_id", "timestamp", "original_timestamp", "sent_at"),
    )

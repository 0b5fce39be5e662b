"""What protects exactly-once: each is removed alone by the tests, and the model must then fail."""

from __future__ import annotations

PROTECTIONS = {
    # The load.
    "uniqueness in the batch": "two copies of a record in one batch give one row",
    "search": "(source, id) is searched in the table from the batch's lowest min(not_before, received_at)",
    "early": "rows stamped before their own not_before (a fast clock) are noted; every search looks there, too",
    "early looked up in replay": "an entry of `early` proves a row in ordinary loads; in replay, where rows may "
    "be missing, only if the row it points at is there",
    "wide search of old batches": "entries of `early` are removed when no retry can come; a batch with records "
    "older than the window (a backlog, a restore) does without them and searches a whole window further back",
    "table lock": "one transaction a table at a time",
    "reading after the lock": "the transaction reads nothing before it holds the lock",
    "repeated guard": "if the columns have changed since the guard ran, it runs again under the lock",
    "ledger": "a batch that the ledger has is skipped",
    "tombstone": "a delete outlives its row",
    "tombstone's id": "a tombstone keeps (version, id), so that ties break both ways",
    "dead letters in the transaction": "dead letters commit with the ledger entry",
    # The stamp.
    "own time": "not_before is the record's own time less a margin, at most a window back: the same in all copies",
    "message time is no own time": "a record sent again by its producer is another message with another time: "
    "for a record with an id of its own, the message's time proves nothing",
    "unbounded send": "ids made of the content come again at any time: they are searched without bound",
    "message identity": "a plain record without an id gets one from its message and its place in it",
    "enqueue time": "a plain record is received when its message was enqueued, not when the loader met it",
    # Queue and archive.
    "acknowledging last": "a round is acknowledged once the archive has it",
    "sweep": "what the archive has and the ledger lacks is loaded, whoever left it",
    "full sweep": "rewritten files are compared with the ledger as well as incoming ones",
    "rewriting loaded files only": "only files that the ledger has in full are rewritten and entered as loaded",
    "checked entry": "that is checked again in the transaction that enters the new name: the warehouse may have "
    "been put back meanwhile",
    "listing again": "a walk of the archive lists again until it meets no new name",
    # Retention.
    "too old on arrival": "a record as old as rows that retention removes is not loaded, wherever it comes from",
    "archive outlives rows": "no file of the archive goes before the rows that came from it",
    "expiring loaded files only": "only files that the ledger has in full are removed",
    "newest kept": "of a mirrored table's files that go, each key's newest version stays in the archive",
    "newest deletions kept": "also where that is a deletion: an older version may yet come",
    "keeping before removing": "what stays is in the archive before anything is removed",
    # Corrections.
    "publishing before correcting": "a mended record is durable in the queue before its letter counts as retried",
    "correcting before settling": "a correction is in the archive before the warehouse shows its effect",
    "outcomes kept": "a correction is remembered by the letter's id, whether or not the letter is there yet",
    "corrections first": "a restore reads the corrections before it loads anything else",
}
"""Name → what it says, all of them together being the design."""

GOOD_CLOCKS = "good clocks"
NO_RESENDING = "no resending"
NOTHING_LOST = "nothing lost"
KINDER_WORLDS = {
    GOOD_CLOCKS: "clients' clocks are never fast, collectors' within 4 minutes",
    NO_RESENDING: "clients and producers never send again, only queues redeliver",
    NOTHING_LOST: "the warehouse never goes back to a backup",
}

SAVES_WORK_ONLY = {"ledger"}
"""Without it the same batch is loaded again, and the search finds all of its rows."""

HARMLESS = [
    (GOOD_CLOCKS, {"early"}),
    (NO_RESENDING, {"early"}),
    (NO_RESENDING, {"message time is no own time"}),
    (NO_RESENDING, {"unbounded send"}),
    (NOTHING_LOST, {"full sweep"}),
    (NOTHING_LOST, {"checked entry"}),
]
"""In these worlds one can do without: what the protection is for."""

NEEDED_STILL = [(NOTHING_LOST, {"sweep", "full sweep"})]
"""Even in these worlds they are needed."""

"""Files in: what `catchment send` reads becomes records in the queue.

    source    the file: opened, hashed; a stream is put on disk first
    lines     ─► blocks of whole lines, decoded
    survey    first pass over CSV: dialect, columns, types, from the whole file
    csv       ─► records, field by field
    render    second pass over CSV ─┐
    formats   NDJSON, JSON          ├─► batches of JSON objects and of what is none
    parquet   Parquet               ┘
    publish   batches ─► lines ─► packs ─► queue

A row's id is the file's hash with the row's number, so that sending a file again adds nothing. What is no row
becomes a dead letter: rows and dead letters together are the file's records.
"""

"""What is known of a SQL text without running it: its tokens, filters spliced into it, the tables it reads, what may
stand at the cursor. Imports nothing else of Catchment; `sqlglot`, where a tree is needed, is loaded when it is.

Dialects are named `duckdb`, `postgres` and `redshift`.
"""

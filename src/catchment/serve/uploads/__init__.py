"""Files that people upload: on disk while they are looked at, then filed through the queue as everything else is.

spool    bytes ─► a file of our own folder, within bounds; gone after filing, an hour, or the process
upload   one file of one person: received, looked at, filed, loaded
fitting  its columns beside those of the table that it is for
filing   what serve must be given to file anything: the queue, and who else writes where
uploads  all of them: who has which, what runs in threads, what has waited for too long
"""

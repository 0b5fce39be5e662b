"""The protocol as an executable model: how every record reaches the warehouse exactly once.

`protections` names what the protocol does and why; `parts` is what is durable and what is not; `publishing`,
`loading` and `archiving` are the processes, as generators that yield between durable steps; `explore` runs
them in any order, kills them anywhere and compares the warehouse with what was made durable.

    python -m tests.model               the design, then every protection removed alone
    python -m tests.model why NAME      a short trace of what goes wrong without it

Whoever changes the protocol changes it here first.
"""

"""Load: rounds from the queue into the archive, batches from the archive into the warehouse."""

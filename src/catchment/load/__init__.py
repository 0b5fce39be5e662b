"""From queue to archive to warehouse, exactly once."""

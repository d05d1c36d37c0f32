"""The tasks of the DAGs: each one call into the core. Between them travel ids and counts, never records."""

"""The gate of each unit in the legacy database: while it is closed, nobody writes what belongs to the unit."""

"""What changed in the legacy database: a journal of keys in it, exact cuts through it, a sweep that believes neither.

The journal holds which entity keys changed and never a value: rows are read again with the entity's own query.
"""

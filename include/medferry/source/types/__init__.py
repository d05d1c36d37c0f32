"""The boundary: for each engine a table of SQL types, and of each type the one value that arrives here.

A type that is not in the table is refused by name before the first row. docs/types.md is written from the tables.
"""

"""Mappings: pure functions from a source row to FHIR resources, and their inverses. For a migration's engineer."""

from medferry.mapping.context import Context
from medferry.mapping.declare import Resource, Row, mapping
from medferry.mapping.inverse import KEEP, Columns, inverse
from medferry.mapping.inverse_context import InverseContext
from medferry.source.births import KeyBy, new_rows
from medferry.source.legacy_table import legacy_table

__all__ = [
    "KEEP",
    "Columns",
    "Context",
    "InverseContext",
    "KeyBy",
    "Resource",
    "Row",
    "inverse",
    "legacy_table",
    "mapping",
    "new_rows",
]

"""Mappings: pure functions from a source row to FHIR resources. What a migration engineer imports."""

from medferry.mapping.context import Context
from medferry.mapping.declare import Resource, Row, mapping

__all__ = ["Context", "Resource", "Row", "mapping"]

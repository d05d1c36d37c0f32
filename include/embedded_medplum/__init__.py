"""A small Medplum for development and tests: Medplum's own FHIR router packages behind HTTP on a loopback port."""

from embedded_medplum.install import install
from embedded_medplum.server import EmbeddedMedplum

__all__ = ["EmbeddedMedplum", "install"]

"""Whole charts for clinicians: legacy rows and FHIR side by side. The only place where Medferry shows patient data."""

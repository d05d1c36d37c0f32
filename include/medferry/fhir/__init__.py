"""FHIR R4 as such: canonical form, validation, references, bundles. Knows nothing of migrations."""

"""Verification: read the legacy database and Medplum again and account for every difference.

Shares no code with transform and load: it uses the plan, the manifest, the connection to the legacy database and the
Medplum client. One file per concern; `run` puts them together.
"""

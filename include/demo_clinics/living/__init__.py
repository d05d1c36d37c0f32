"""The living clinic: people work in the legacy system and in Medplum at once, and nothing of it may be lost."""

"""Both systems in step: what changes in the legacy database arrives in Medplum, cut by cut."""

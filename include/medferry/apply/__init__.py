"""Writing to Medplum: plan what is to be done, send it, prove it. Load and synchronisation write through this."""

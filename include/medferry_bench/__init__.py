"""`make bench`: Medferry's throughput beside Medplum's own ways, in one run and on the same resources."""

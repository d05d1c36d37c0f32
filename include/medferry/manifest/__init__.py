"""The manifest: the ledger of runs, slices, source units, targets, attempts and findings."""

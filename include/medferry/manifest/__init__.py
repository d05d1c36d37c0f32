"""The manifest: the ledger of runs, slices, source records, targets, attempts and findings."""

"""Files that hold patient data: encrypted where there is a key, for their owner alone in any case."""

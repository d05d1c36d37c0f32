"""What a hospital knows of its patients is looked for wherever it must not be."""

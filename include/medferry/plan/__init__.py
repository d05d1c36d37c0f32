"""The plan: one YAML file that answers a migration's planning questions."""

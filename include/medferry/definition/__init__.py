"""All that a migration engineer wrote, read and judged at once: plan, entities, mappings, code tables, checks."""

"""Sources: files land, are mapped to canonical entities, and their bad rows are quarantined."""

"""Identity: which identifiers belong to one customer, under an id that persists."""

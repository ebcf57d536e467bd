"""Sync: membership delivered to runtime systems, with proof of what each one holds."""

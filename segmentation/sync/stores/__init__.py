"""Stores: one adapter per kind of runtime system, all with the same small contract."""

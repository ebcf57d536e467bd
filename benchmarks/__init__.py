"""Measurements of the whole chain, each stage beside the least work that would give the same result."""

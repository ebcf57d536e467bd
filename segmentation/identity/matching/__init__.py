"""Matching: which records are probably one customer's though no identifier links them (evidence of tier 4)."""

"""Forgetting a customer: in every layer, provably, and for good."""

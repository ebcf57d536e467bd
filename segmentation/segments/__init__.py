"""Segments: definitions, the rule language, decisions, and the log of every change."""

"""Consent at loading: what nobody allowed to be kept is taken out of the candidate of sources."""

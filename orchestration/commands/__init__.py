"""The commands of `strata`, one module per subject."""

"""`strata identity …` for matching by probability: train, review, explain a pair."""

import typer


def register(group: typer.Typer) -> None:
    """Add the commands of this module to ``strata identity``."""

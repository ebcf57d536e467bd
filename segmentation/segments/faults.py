"""What is wrong with a rule or a catalog, told so that a person can repair it.

Belongs here: the fault, the error that carries several of them, and guessing what was meant. Does not belong
here: finding faults (``parser.py``, ``catalog.py``). Look next at ``catalog.py`` for how they are collected.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from segmentation.errors import CatalogError


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault in a text; lines and columns count from 1 within that text."""

    what: str
    line: int | None = None
    column: int | None = None
    expected: str = ""
    repair: str = ""


class RuleError(CatalogError):
    """A rule that can't be meant, with every fault in it."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        first = faults[0]
        place = f"line {first.line}, column {first.column}" if first.line else "rule"
        super().__init__(
            "\n".join(fault.what for fault in faults), where=place, expected=first.expected, repair=first.repair
        )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean x?"`` where a known name is close, else nothing."""
    close = get_close_matches(name.lower(), list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""

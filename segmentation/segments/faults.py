"""What is wrong with the text of a rule or a list, told so that a person can repair it.

Belongs here: the fault, and the error that carries several of them. Does not belong here: finding faults
(``parser.py``, ``lists.py``). Look next at ``catalog_reader.py`` for how they are collected.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from segmentation.errors import CatalogError, CatalogProblem


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault in a text; lines and columns count from 1 within that text."""

    what: str
    line: int | None = None
    column: int | None = None
    expected: str = ""
    repair: str = ""

    def problem(self, file: str) -> CatalogProblem:
        """Return the fault as a problem of the catalog, where the text is a file of its own."""
        return CatalogProblem(
            file, self.line or 1, self.what, column=self.column, expected=self.expected, repair=self.repair
        )


class RuleError(CatalogError):
    """A rule that can't be meant, with every fault in it."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        first = faults[0]
        place = f"line {first.line}, column {first.column}" if first.line else "rule"
        super().__init__(
            "\n".join(fault.what for fault in faults), where=place, expected=first.expected, repair=first.repair
        )

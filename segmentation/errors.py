"""Errors a person can act on.

Every error that leaves the domain says what went wrong, where, what was expected and how to repair it. Catalogs are
checked as a whole, so their error carries every problem found. Not here: finding them (`documents.py`, the stages).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal


class StrataError(Exception):
    """Something a person must repair.

    Args:
        what: The fact, in one sentence.
        where: File (with line, where known), table or object concerned.
        expected: What would have been right.
        repair: The command or the edit that repairs it.
    """

    #: Exit code of the command line for this kind of error.
    exit_code = 1

    def __init__(self, what: str, *, where: str = "", expected: str = "", repair: str = "") -> None:
        self.what = what
        self.where = where
        self.expected = expected
        self.repair = repair
        super().__init__(self.message)

    @property
    def message(self) -> str:
        """The whole error as text, one fact a line."""
        lines = [self.what]
        if self.where:
            lines.append(f"  where:    {self.where}")
        if self.expected:
            lines.append(f"  expected: {self.expected}")
        if self.repair:
            lines.append(f"  repair:   {self.repair}")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, str]:
        """The error as JSON-ready facts."""
        return {
            "error": type(self).__name__,
            "what": self.what,
            "where": self.where,
            "expected": self.expected,
            "repair": self.repair,
        }


class CatalogError(StrataError):
    """A catalog file says something that can't be meant."""


@dataclass(frozen=True, slots=True)
class CatalogProblem:
    """One thing to repair in the catalog.

    Attributes:
        file: The file, as the reader of the message knows it.
        line: Counted from 1.
        column: Counted from 1; ``None`` where only the line is known.
        severity: An ``error`` keeps the catalog from being used, a ``warning`` does not; ``information`` is
            nothing to repair.
    """

    file: str
    line: int
    what: str
    column: int | None = None
    expected: str = ""
    repair: str = ""
    severity: Literal["error", "warning", "information"] = "error"

    @property
    def where(self) -> str:
        """``file:line`` or ``file:line:column``, as editors understand it."""
        return f"{self.file}:{self.line}" + (f":{self.column}" if self.column else "")

    def as_dict(self) -> dict[str, object]:
        """The problem as JSON-ready facts."""
        return {
            "severity": self.severity,
            "what": self.what,
            "where": self.where,
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "expected": self.expected,
            "repair": self.repair,
        }


class CatalogProblems(CatalogError):  # noqa: N818 - it is named after what it carries
    """A catalog that can't be used, with every problem in it; one of them at least is an error."""

    def __init__(self, problems: Sequence[CatalogProblem]) -> None:
        self.problems = tuple(problems)
        errors = [problem for problem in problems if problem.severity == "error"]
        first = errors[0]
        if len(errors) == 1:
            what = first.what
        else:
            lines = "\n".join(f"  {problem.where}: {problem.what}" for problem in errors)
            what = f"the catalog has {len(errors)} errors\n{lines}"
        super().__init__(
            what,
            where=first.where,
            expected=first.expected,
            repair=first.repair or "edit the file, then: strata validate",
        )


class SourceError(StrataError):
    """A landed file can't be read as its mapping says."""


class GateClosedError(StrataError):
    """A stage asked for data whose gate has not passed."""

    exit_code = 3


class WarehouseBusyError(StrataError):
    """Another process is writing the warehouse."""

    exit_code = 4


class CandidateError(StrataError):
    """A candidate is not the one this run made (another run replaced it), or is missing."""


class NotFoundError(StrataError):
    """What was asked for does not exist."""

    exit_code = 5


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that ``name`` was probably meant to be, whatever its case; ``None`` where none is near."""
    spelt = {one.casefold(): one for one in known}
    found = get_close_matches(name.casefold(), list(spelt), n=1, cutoff=0.6)
    return spelt[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean x?"`` where a known name is near, else nothing."""
    near = nearest_name(name, known)
    return f"; did you mean {near}?" if near else ""

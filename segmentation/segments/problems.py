"""Problems of a catalog, collected, each with its file and line.

Belongs here: the problem, and the error that carries all of them. Does not belong here: finding them
(``catalog.py``, ``catalog_checks.py``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from segmentation.errors import CatalogError
from segmentation.segments.faults import Fault, did_you_mean


@dataclass(frozen=True, slots=True)
class CatalogProblem:
    """One thing to repair in the catalog.

    Attributes:
        file: The file, from the catalog folder's name on.
        line: Counted from 1.
        column: Counted from 1; ``None`` where only the line is known.
        severity: An ``error`` keeps the catalog from being used, a ``warning`` does not.
    """

    file: str
    line: int
    what: str
    column: int | None = None
    expected: str = ""
    repair: str = ""
    severity: Literal["error", "warning"] = "error"

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


def problem_at(file: str, fault: Fault) -> CatalogProblem:
    """Return a fault of a file's text as a problem of the catalog."""
    return CatalogProblem(
        file, fault.line or 1, fault.what, column=fault.column, expected=fault.expected, repair=fault.repair
    )


def say(model: type[BaseModel], detail: dict[str, Any]) -> str:
    """Return one of pydantic's complaints as a sentence about the file's keys."""
    location = [str(part) for part in detail["loc"]]
    name = ".".join(location)
    if detail["type"] == "extra_forbidden":
        known = model.model_fields if len(location) == 1 else ()
        return f"unknown key {name}{did_you_mean(location[-1], known)}"
    if detail["type"] == "missing":
        return f"the key {name} is missing"
    said = str(detail["msg"]).removeprefix("Value error, ")
    return f"{name}: {said[0].lower()}{said[1:]}" if name else said


class CatalogProblems(CatalogError):  # noqa: N818 - it is named after what it carries
    """A catalog that can't be used, with every problem in it."""

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
            repair=first.repair or "edit the file, then strata validate",
        )

"""Errors a person can act on.

Every error that leaves the domain says what went wrong, where, what was expected and how to repair it.
"""


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

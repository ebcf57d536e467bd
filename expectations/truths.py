"""What a suite is made of: truths about a stage's candidate tables.

Belongs here: how a truth is written down, and short ways to write the usual ones. Does not belong here:
the truths themselves (`suites/<stage>.py`) or how they are checked (`bridge.py`). A truth is data: its
name reads as a fact, its expectation is a Great Expectations type, its SQL names no personal data.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["critical", "warning"]

#: Expectation type of a truth that is a query for the rows that contradict it.
SQL_TYPE = "unexpected_rows_expectation"


@dataclass(frozen=True, slots=True)
class Truth:
    """One fact that must hold.

    Attributes:
        name: The fact as a name: ``customers_are_unique``.
        table: The table it is about, in the stage's schema.
        expectation: Great Expectations' snake-case type.
        kwargs: That expectation's arguments. The query of an SQL truth selects the rows that contradict
            it, names the table ``{batch}``, and selects no personal data: its rows are shown to people.
        expected: What is right, in words, for messages.
        repair: What to do where it does not hold.
        severity: ``critical`` closes the gate; ``warning`` is shown and recorded, and closes nothing.
        may_be_accepted: Whether a person may let one run pass where it does not hold. A truth about how
            much is usual may be accepted, and one that only the stage's own work can repair; one about what is
            right never.
    """

    name: str
    table: str
    expectation: str
    kwargs: Mapping[str, object]
    expected: str
    repair: str
    severity: Severity = "critical"
    may_be_accepted: bool = False

    def __post_init__(self) -> None:
        if self.expectation == SQL_TYPE and "{batch}" not in str(self.kwargs.get("unexpected_rows_query")):
            raise ValueError(f"truth {self.name}: its query must read {{batch}}")

    @property
    def query(self) -> str | None:
        """The SQL truth's query, ``None`` for the others."""
        return str(self.kwargs["unexpected_rows_query"]) if self.expectation == SQL_TYPE else None


@dataclass(frozen=True, slots=True)
class Suite:
    """All that must hold before a stage's candidate may be published."""

    stage: str
    truths: tuple[Truth, ...]
    tables: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        names = [truth.name for truth in self.truths]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"suite {self.stage} has two truths called {', '.join(twice)}")
        object.__setattr__(self, "tables", tuple(dict.fromkeys(truth.table for truth in self.truths)))

    @property
    def name(self) -> str:
        """Name of the suite in the ledger and in Dagster."""
        return f"{self.stage}_suite"

    def of(self, table: str) -> tuple[Truth, ...]:
        """Return the truths about one table."""
        return tuple(truth for truth in self.truths if truth.table == table)


def holds_nowhere(
    name: str,
    table: str,
    query: str,
    *,
    expected: str,
    repair: str,
    severity: Severity = "critical",
    may_be_accepted: bool = False,
) -> Truth:
    """State that ``query``, which selects contradictions from ``{batch}``, finds no row."""
    kwargs = {"unexpected_rows_query": " ".join(query.split())}
    return Truth(name, table, SQL_TYPE, kwargs, expected, repair, severity, may_be_accepted)


def is_unique(name: str, table: str, *columns: str, repair: str) -> Truth:
    """State that no two rows share these columns; one hash aggregation, which spills where a window can't."""
    key = ", ".join(columns)
    query = f"select count(*) as rows_of_one_key from {{batch}} group by {key} having count(*) > 1"
    return holds_nowhere(name, table, query, expected=f"one row per {key}", repair=repair)


def is_known(name: str, table: str, column: str, *, repair: str) -> Truth:
    """State that a column is never null."""
    kwargs = {"column": column}
    return Truth(name, table, "expect_column_values_to_not_be_null", kwargs, f"{column} is never null", repair)


def is_one_of(name: str, table: str, column: str, *values: str, repair: str) -> Truth:
    """State that a column has only these values; null is another truth's business."""
    kwargs = {"column": column, "value_set": list(values)}
    expected = f"{column} is one of {', '.join(values)}"
    return Truth(name, table, "expect_column_values_to_be_in_set", kwargs, expected, repair)


def is_between(name: str, table: str, column: str, low: object, high: object, *, repair: str) -> Truth:
    """State that a column lies between two values, both included; ``None`` leaves an end open."""
    kwargs = {"column": column, "min_value": low, "max_value": high}
    bounds = [f"at least {low}" if low is not None else "", f"at most {high}" if high is not None else ""]
    expected = f"{column} is {' and '.join(bound for bound in bounds if bound)}"
    return Truth(name, table, "expect_column_values_to_be_between", kwargs, expected, repair)


def has_rows(name: str, table: str, *, at_least: int = 1, repair: str, severity: Severity = "critical") -> Truth:
    """State that a table is not empty: value truths hold on an empty table."""
    kwargs = {"min_value": at_least}
    expected = f"at least {at_least} row{'s' if at_least != 1 else ''}"
    return Truth(name, table, "expect_table_row_count_to_be_between", kwargs, expected, repair, severity)

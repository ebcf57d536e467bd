"""What checking a suite found, in a form that any reader understands.

Belongs here: the result of a truth and of a suite. Does not belong here: finding them (`bridge.py`),
keeping them (`ledger.py`) or showing them in Dagster (`gates.py`). Nothing here holds personal data.
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from typing import Any

from expectations.truths import Severity


@dataclass(frozen=True, slots=True)
class TruthResult:
    """How one truth came out.

    Attributes:
        name: The truth.
        table: The table it is about, with its schema.
        severity: What a failure means: ``critical`` closes the gate, ``warning`` does not.
        passed: Whether it holds. A truth that could not be checked does not hold.
        observed: What was found, in words.
        expected: What is right, in words.
        unexpected_count: How many rows contradict it, where that was counted.
        sample: Some of what contradicts it; never personal data.
        repair: What to do where it does not hold.
        may_be_accepted: Whether a person may let one run pass where it does not hold.
    """

    name: str
    table: str
    severity: Severity
    passed: bool
    observed: str
    expected: str
    unexpected_count: int | None
    sample: tuple[dict[str, str], ...]
    repair: str
    may_be_accepted: bool

    @property
    def sentence(self) -> str:
        """The result as one line for a message."""
        example = "; for example " + ", ".join(f"{k} {v}" for k, v in self.sample[0].items()) if self.sample else ""
        return f"{self.name} ({self.table}): observed {self.observed}{example}; expected {self.expected}"

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON-ready facts."""
        return asdict(self) | {"sample": list(self.sample)}

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> "TruthResult":
        """Read back what ``as_dict`` wrote."""
        return cls(**facts | {"sample": tuple(facts["sample"])})


class Judgement:
    """What a stage's truths mean together, for whatever holds them."""

    __slots__ = ()
    truths: tuple[TruthResult, ...]

    @property
    def failures(self) -> tuple[TruthResult, ...]:
        """Critical truths that do not hold: they close the gate."""
        return tuple(truth for truth in self.truths if not truth.passed and truth.severity == "critical")

    @property
    def warnings(self) -> tuple[TruthResult, ...]:
        """Other truths that do not hold: they are shown and close nothing."""
        return tuple(truth for truth in self.truths if not truth.passed and truth.severity == "warning")


@dataclass(frozen=True, slots=True)
class SuiteResult(Judgement):
    """How a stage's suite came out, in the suite's order."""

    stage: str
    suite: str
    truths: tuple[TruthResult, ...]

    def accept(self, names: Collection[str]) -> "SuiteResult":
        """Return the result in which failures that a person accepted by name are warnings that say so."""
        return replace(
            self,
            truths=tuple(
                replace(truth, severity="warning", observed=f"{truth.observed} (accepted for this run)")
                if truth in self.failures and truth.may_be_accepted and truth.name in names
                else truth
                for truth in self.truths
            ),
        )

    @property
    def passed(self) -> bool:
        """Whether the gate opens: there are truths, and every critical one holds."""
        return bool(self.truths) and not self.failures

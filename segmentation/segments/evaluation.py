"""One customer against one condition: whether it holds, and which clause says so.

Belongs here: the Python meaning of every node, equal to the SQL's. Does not belong here: many customers at
once (``rule_sql.py`` and the engine do that). Look next at ``explain.py``, which shows the tree to people.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from operator import eq, ge, gt, le, lt, ne
from typing import Any

from segmentation.segments.conditions import (
    AS_OF,
    Always,
    Arithmetic,
    Comparison,
    Condition,
    Constant,
    DaysSince,
    Either,
    Every,
    Feature,
    Flag,
    InSegment,
    Leaf,
    Listed,
    Missing,
    OneOf,
    Pattern,
    Term,
    leaf_features,
)
from segmentation.segments.kinds import Kind
from segmentation.segments.rule_sql import to_text

Row = Mapping[str, Any]

_COMPARE = {"=": eq, "<>": ne, "<": lt, "<=": le, ">": gt, ">=": ge}
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Clause:
    """One node of an explanation.

    Attributes:
        text: The node in the rule language.
        truth: Whether it holds for the customer.
        joined_by: ``and`` or ``or`` over the children; ``None`` for a leaf.
        values: The features that a leaf read, with their values.
        children: The parts of an ``and`` or ``or``.
    """

    text: str
    truth: bool
    joined_by: str | None
    values: dict[str, object]
    children: tuple["Clause", ...]

    def as_dict(self) -> dict[str, object]:
        """The tree as JSON-ready facts; moments as ISO 8601 text."""
        facts: dict[str, object] = {"text": self.text, "truth": self.truth}
        if self.joined_by:
            facts["joined_by"] = self.joined_by
            facts["children"] = [child.as_dict() for child in self.children]
        else:
            facts["values"] = {name: plain(value) for name, value in self.values.items()}
        return facts


def plain(value: object) -> object:
    """Return a value as JSON can carry it."""
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    return value


def holds(condition: Condition, row: Row, segments: Collection[str] = ()) -> bool:
    """Say whether the condition is true for a feature row; a null never makes a clause true.

    Args:
        condition: What to decide.
        row: Feature name to value; it has every feature that the condition reads.
        segments: Keys of the segments that the customer is a member of, for ``in_segment``.

    Raises:
        KeyError: The row lacks a feature.
    """
    match condition:
        case Every(parts):
            return all(holds(part, row, segments) for part in parts)
        case Either(parts):
            return any(holds(part, row, segments) for part in parts)
        case _:
            return _leaf_holds(condition, row, segments)


def explain_condition(condition: Condition, row: Row, segments: Collection[str] = ()) -> Clause:
    """Return the tree of clauses with each one's truth and the values it read; see ``holds``."""
    if isinstance(condition, (Every, Either)):
        children = tuple(explain_condition(part, row, segments) for part in condition.parts)
        is_and = isinstance(condition, Every)
        truths = [child.truth for child in children]
        return Clause(
            text=to_text(condition),
            truth=all(truths) if is_and else any(truths),
            joined_by="and" if is_and else "or",
            values={},
            children=children,
        )
    return Clause(
        text=to_text(condition),
        truth=_leaf_holds(condition, row, segments),
        joined_by=None,
        values={name: row[name] for name in leaf_features(condition)},
        children=(),
    )


def _leaf_holds(leaf: Leaf, row: Row, segments: Collection[str]) -> bool:  # noqa: PLR0911 - one return per kind of leaf
    match leaf:
        case Comparison(operator, left, right):
            return _compare(operator, left, right, row)
        case Missing(term, negated):
            return (_value(term, row) is None) != negated
        case InSegment(key, negated):
            return (key in segments) != negated
        case Always(truth):
            return truth
        case OneOf(term, values, negated):
            found = _value(term, row)
            return found is not None and (found in {constant.value for constant in values}) != negated
        case Flag(feature, negated):
            found = row[feature.name]
            return found is not None and bool(found) != negated
        case Listed(feature, value, negated):
            found = row[feature.name]
            return found is not None and (value in found) != negated
        case Pattern(feature, _, _, negated):
            found = row[feature.name]
            return found is not None and _matches(leaf, found) != negated


def _matches(pattern: Pattern, text: str) -> bool:
    match pattern.shape:
        case "prefix":
            return text.startswith(pattern.text)
        case "suffix":
            return text.endswith(pattern.text)
        case "contains":
            return pattern.text in text
        case "equals":
            return text == pattern.text


def _compare(operator: str, left: Term, right: Term, row: Row) -> bool:
    first, second = _value(left, row), _value(right, row)
    if first is None or second is None:
        return False
    kinds = {left.kind, right.kind}
    if kinds == {Kind.INTEGER, Kind.DOUBLE}:
        first, second = float(first), float(second)
    elif kinds == {Kind.DATE, Kind.TIMESTAMP}:
        first, second = moment_of(first), moment_of(second)
    return bool(_COMPARE[operator](first, second))


def moment_of(value: date | datetime) -> datetime:
    """Return a date as the moment at which it begins."""
    return value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)  # noqa: DTZ001


def _value(term: Term, row: Row) -> Any:
    match term:
        case Feature(name, kind):
            found = row[name]
            return float(found) if kind is Kind.DOUBLE and found is not None else found
        case Constant(value):
            return value
        case DaysSince(moment):
            return days_between(row[moment.name], row[AS_OF])
        case Arithmetic(operator, left, right):
            return combine(operator, _value(left, row), _value(right, row))


def days_between(start: date | datetime | None, end: datetime | None) -> int | None:
    """Return whole days, cut towards zero, or null."""
    if start is None or end is None:
        return None
    gap = end - moment_of(start)
    days = abs(gap) // _DAY
    return days if gap >= timedelta(0) else -days


def combine(operator: str, left: float | None, right: float | None) -> float | None:
    """Return two numbers combined as floats, or null; dividing by zero gives null."""
    if left is None or right is None:
        return None
    first, second = float(left), float(right)
    match operator:
        case "+":
            return first + second
        case "-":
            return first - second
        case "*":
            return first * second
        case _:
            return None if second == 0 else first / second

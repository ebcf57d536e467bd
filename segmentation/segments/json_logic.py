"""Rules as JSONLogic, the language of flagd's targeting, for edges that decide by attributes of their own.

Belongs here: the JSONLogic of every node, how values are written for it, and the refusal of what it can't say exactly.
Does not belong here: what else than its rule decides a segment (``edge_targeting.py``).

JSONLogic has one type of number, the 64-bit float; in some of its evaluators a whole number stays whole. So whole
numbers count up to 2^53, arithmetic first makes floats of its operands, and moments are whole numbers near enough to
1970 that their difference is exact. A null is an attribute that is left out, and every comparison asks first.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from segmentation.errors import CatalogError
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
    leaves,
)
from segmentation.segments.evaluation import moment_of
from segmentation.segments.kinds import Kind
from segmentation.segments.rule_sql import to_text

#: The attribute that lists the segments a customer is in.
SEGMENTS = "segments"
#: Whole numbers up to here are floats without loss.
_EXACT = 2**53
#: Moments up to here, in microseconds before and after 1970, have exact differences: the years 1827 to 2112.
_MOMENTS = 2**52
_DAY = 86_400_000_000
#: Moments are UTC, and bear no zone.
_EPOCH = datetime.fromtimestamp(0, UTC).replace(tzinfo=None)

Logic = dict[str, Any]


class InexpressibleError(CatalogError):
    """A rule, or a value, that JSONLogic can't carry exactly."""


def to_json_logic(condition: Condition) -> Logic:
    """Return JSONLogic that is true exactly where the condition holds, over what ``edge_attributes`` gives.

    Besides the operators that every evaluator has, it uses flagd's ``starts_with`` and ``ends_with``.

    Raises:
        InexpressibleError: With every clause that JSONLogic can't say exactly, and why.
    """
    reasons = []
    for leaf in leaves(condition):
        try:
            _leaf(leaf)
        except InexpressibleError as error:
            reasons.append(f"{to_text(leaf)}: {error.what}")
    if reasons:
        raise InexpressibleError(
            "the rule can't be said in JSONLogic\n" + "\n".join(f"  {reason}" for reason in dict.fromkeys(reasons)),
            expected="clauses that an edge can decide exactly as the warehouse does",
            repair="simplify these clauses, or deliver the membership itself",
        )
    return _logic(condition)


def edge_attributes(row: Mapping[str, Any], segments: Collection[str] = ()) -> dict[str, Any]:
    """Return a feature row as attributes of an edge, with the segments that the customer is in.

    Nulls are left out; dates are days since 1970, timestamps microseconds.

    Raises:
        InexpressibleError: A value that JSONLogic can't carry exactly.
    """
    found = {name: _attribute(name, value) for name, value in row.items() if value is not None}
    return {**found, SEGMENTS: sorted(segments)}


def _attribute(name: str, value: Any) -> Any:
    match value:
        case bool() | str():
            return value
        case int() if abs(value) <= _EXACT:
            return value
        case float() | Decimal() if math.isfinite(value):
            return float(value)
        case datetime() if abs(_micros(value)) <= _MOMENTS:
            return _micros(value)
        case date() if not isinstance(value, datetime) and abs(_micros(value)) <= _MOMENTS:
            return _micros(value) // _DAY
        case list() | tuple():
            return [str(one) for one in value if one is not None]
    raise InexpressibleError(
        f"{name}: {value!r} can't be carried exactly",
        expected=f"whole numbers up to {_EXACT:,}, finite numbers, moments from 1827 to 2112, texts, lists of texts",
    )


def _micros(moment: date) -> int:
    return (moment_of(moment) - _EPOCH) // timedelta(microseconds=1)


def _logic(condition: Condition) -> Logic:
    match condition:
        case Every(parts):
            return {"and": [_logic(part) for part in parts]}
        case Either(parts):
            return {"or": [_logic(part) for part in parts]}
        case _:
            return _leaf(condition)


def _leaf(leaf: Leaf) -> Logic:  # noqa: PLR0911 - one return per kind of leaf
    match leaf:
        case Always(truth):
            # Targeting of a flag must be an object.
            return {"===": [1, 1 if truth else 0]}
        case Missing(term, negated):
            known = _all_of([*_known(term)])
            return known if negated else {"!": [known]}
        case Flag(feature, negated):
            return _guarded([feature], {"===": [_var(feature.name), not negated]})
        case InSegment(key, negated):
            is_member = {"in": [key, {"var": SEGMENTS}]}
            return {"and": [_is_known({"var": SEGMENTS}), {"!": [is_member]} if negated else is_member]}
        case Listed(feature, value, negated):
            return _guarded([feature], _maybe_not({"in": [value, _var(feature.name)]}, negated=negated))
        case Pattern(feature, _, _, negated):
            return _guarded([feature], _maybe_not(_pattern(leaf), negated=negated))
        case OneOf(term, values, negated):
            return _guarded([term], _maybe_not(_one_of(term, values), negated=negated))
        case Comparison():
            return _guarded([leaf.left, leaf.right], _comparison(leaf))


def _pattern(pattern: Pattern) -> Logic:
    text, value = pattern.text, _var(pattern.feature.name)
    match pattern.shape:
        case "prefix":
            return {"starts_with": [value, text]}
        case "suffix":
            return {"ends_with": [value, text]}
        case "contains":
            return {"in": [text, value]}
        case "equals":
            return {"===": [value, text]}


def _one_of(term: Term, values: tuple[Constant, ...]) -> Logic:
    if isinstance(term, DaysSince):
        return {"or": [_days(term, "=", value) for value in values]}
    return {"in": [_value(term), [_value(value) for value in values]]}


_OPERATORS = {"=": "===", "<>": "!==", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_SWAPPED = {"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


def _comparison(comparison: Comparison) -> Logic:
    operator, left, right = comparison.operator, comparison.left, comparison.right
    if isinstance(left, DaysSince) and isinstance(right, Constant):
        return _days(left, operator, right)
    if isinstance(right, DaysSince) and isinstance(left, Constant):
        return _days(right, _SWAPPED[operator], left)
    if {left.kind, right.kind} == {Kind.DATE, Kind.TIMESTAMP}:
        return {_OPERATORS[operator]: [_moment(left), _moment(right)]}
    return {_OPERATORS[operator]: [_value(left), _value(right)]}


def _days(term: DaysSince, operator: str, bound: Constant) -> Logic:
    """Compare whole days, cut towards zero, with a number: JSONLogic cuts nothing, but it can compare the gap."""
    gap = {"-": [_moment(Feature(AS_OF, Kind.TIMESTAMP)), _moment(term.moment)]}
    days = _number(bound)
    low, high = math.ceil(days), math.floor(days)
    if max(abs(low), abs(high)) >= _EXACT // _DAY:
        raise InexpressibleError(f"{days} days are more than it can count in microseconds")
    match operator:
        case "=" | "<>":
            # Where the number is none of whole days, no gap is both.
            equal = {"and": [_at_least(gap, low), _at_most(gap, high)]}
            return _maybe_not(equal, negated=operator == "<>")
        case ">":
            return _at_least(gap, high + 1)
        case ">=":
            return _at_least(gap, low)
        case "<":
            return _at_most(gap, low - 1)
        case _:
            return _at_most(gap, high)


def _at_least(gap: Logic, days: int) -> Logic:
    return {">=": [gap, days * _DAY]} if days > 0 else {">": [gap, (days - 1) * _DAY]}


def _at_most(gap: Logic, days: int) -> Logic:
    return {"<": [gap, (days + 1) * _DAY]} if days >= 0 else {"<=": [gap, days * _DAY]}


# -- values ------------------------------------------------------------------------------------------------


def _value(term: Term) -> Any:
    match term:
        case Feature():
            return _feature(term)
        case Constant():
            return _constant(term)
        case Arithmetic():
            return _float(term)
        case DaysSince():
            raise InexpressibleError(
                "whole days are cut towards zero, which it can't; it can compare them with a number"
            )


def _feature(feature: Feature) -> Logic:
    if feature.kind is Kind.OTHER:
        raise InexpressibleError(f"{feature.name} is a value of a type that it does not have")
    return _var(feature.name)


def _var(name: str) -> Logic:
    if "." in name or name == SEGMENTS:
        raise InexpressibleError(f"an attribute can't be called {name}: it means something else there")
    return {"var": name}


def _constant(constant: Constant) -> Any:
    match constant.value:
        case datetime():
            return _moment(constant)
        case date():
            return _micros(constant.value) // _DAY
        case bool() | str() | float():
            return constant.value
        case whole if abs(whole) <= _EXACT:
            return whole
    raise InexpressibleError(f"{constant.value} is beyond {_EXACT}, from where on it rounds whole numbers")


def _moment(term: Term) -> Any:
    """Return a moment in microseconds."""
    match term:
        case Constant(value) if isinstance(value, date):
            micros = _micros(value)
            if abs(micros) > _MOMENTS:
                raise InexpressibleError(f"{value} is not within the years 1827 to 2112, whose moments it can compare")
            return micros
        case Feature(name, kind):
            return {"*": [_var(name), _DAY]} if kind is Kind.DATE else _var(name)
    raise AssertionError(term)


def _float(term: Term) -> Any:
    match term:
        case Constant():
            return float(_number(term))
        case Arithmetic(operator, left, right):
            return {operator: [_float(left), _float(right)]}
        case _:
            # Some evaluators keep whole numbers whole; times 1.0 they are floats everywhere.
            return {"*": [_value(term), 1.0]}


def _number(constant: Constant) -> int | float:
    """Return the value of a constant where kinds allow numbers alone: days and arithmetic."""
    match constant.value:
        case int() | float() as number:
            return number
    raise TypeError(f"{constant.value!r} is not a number")


# -- nulls -------------------------------------------------------------------------------------------------


def _guarded(terms: list[Term], test: Logic) -> Logic:
    guards = [guard for term in terms for guard in _known(term)]
    unique = [guard for index, guard in enumerate(guards) if guard not in guards[:index]]
    return _all_of([*unique, test])


def _all_of(parts: list[Logic]) -> Logic:
    return parts[0] if len(parts) == 1 else {"and": parts}


def _known(term: Term) -> Iterator[Logic]:
    """Yield what must hold for a term not to be null, in an order in which each can be asked after the others."""
    match term:
        case Feature():
            yield _is_known(_feature(term))
        case DaysSince(moment):
            yield _is_known(_feature(moment))
            yield _is_known(_var(AS_OF))
        case Arithmetic(operator, left, right):
            yield from _known(left)
            yield from _known(right)
            if operator == "/":
                yield {"!==": [_float(right), 0]}


def _is_known(attribute: Logic) -> Logic:
    return {"!==": [attribute, None]}


def _maybe_not(logic: Logic, *, negated: bool) -> Logic:
    return {"!": [logic]} if negated else logic

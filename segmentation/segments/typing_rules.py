"""Which kinds of values go together in a rule, and the conditions that come of it.

Belongs here: every check of kinds, without any knowledge of syntax. Does not belong here: reading text
(``parser.py``). Look next at ``conditions.py`` for what each node means.
"""

from datetime import date, datetime
from decimal import Decimal, InvalidOperation

from segmentation.segments.conditions import (
    Arithmetic,
    Comparison,
    Condition,
    Constant,
    Either,
    Every,
    Feature,
    Flag,
    Listed,
    Missing,
    OneOf,
    Operator,
    Pattern,
    Term,
    join,
)
from segmentation.segments.kinds import Kind

_MAX_INTEGER = 2**63 - 1
_MAX_EXPONENT = 18


class KindMismatch(Exception):  # noqa: N818 - it never leaves the parser, which turns it into a fault
    """Two values that can't be compared; the parser adds the place."""

    def __init__(self, what: str, expected: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.expected = expected


def constant(text: str, *, is_text: bool) -> Constant:
    """Read a literal: a text, a whole number (``1e3`` is one) or a number."""
    if is_text:
        return Constant(text, Kind.STRING)
    try:
        number = Decimal(text.replace("_", ""))
    except InvalidOperation:
        raise KindMismatch(f"{text} is not a number") from None
    # The exponent is looked at first: 1e999999999 is a few characters of text and a gigabyte of digits.
    if number.adjusted() > _MAX_EXPONENT or abs(number) > _MAX_INTEGER:
        raise KindMismatch(f"{text} is out of range", f"at most {_MAX_INTEGER} in size")
    if number == number.to_integral_value():
        return Constant(int(number), Kind.INTEGER)
    return Constant(float(number), Kind.DOUBLE)


def moment(text: str, kind: Kind) -> Constant:
    """Read a date or timestamp literal; a time zone is refused, all moments are UTC."""
    try:
        if kind is Kind.DATE:
            return Constant(date.fromisoformat(text), kind)
        value = datetime.fromisoformat(text)
    except ValueError:
        raise KindMismatch(f"'{text}' is not a {kind}", "the form 2026-01-31 or 2026-01-31 12:00:00") from None
    if value.tzinfo is not None:
        raise KindMismatch("a timestamp with a time zone", "UTC, without time zone")
    return Constant(value, kind)


def minus(term: Term) -> Term:
    """Return the negative of a number."""
    if isinstance(term, Constant) and isinstance(term.value, (int, float)) and term.kind.is_numeric:
        return Constant(-term.value, term.kind)
    return arithmetic("-", Constant(0, Kind.INTEGER), term)


def arithmetic(operator: str, left: Term, right: Term) -> Arithmetic:
    """Combine two numbers."""
    for term in (left, right):
        if not term.kind.is_numeric:
            hint = "days_since(feature) for a number of days" if term.kind.is_temporal else "numbers"
            raise KindMismatch(f"{_named(term)} is a {term.kind}: {operator} needs numbers", hint)
    return Arithmetic(operator, left, right)  # type: ignore[arg-type]  # the parser maps only these four


def temporal(feature: Feature) -> Feature:
    """Return a feature that is a date or timestamp."""
    if not feature.kind.is_temporal:
        raise KindMismatch(f"{feature.name} is a {feature.kind}", "a feature that is a date or timestamp")
    return feature


def flag(feature: Feature) -> Flag:
    """Return the condition that a boolean feature is true."""
    if feature.kind is not Kind.BOOLEAN:
        raise KindMismatch(
            f"{feature.name} is a {feature.kind}, not something true or false", f"a comparison of {feature.name}"
        )
    return Flag(feature)


def is_truth(feature: Feature, *, truth: bool) -> Every:
    """Return ``feature is true`` or ``is false``; as in SQL these know a null, so ``is not true`` includes it."""
    flag(feature)
    return Every((Missing(feature, negated=True), Flag(feature, negated=not truth)))


def missing(term: Term) -> Missing:
    """Return the condition that a term is null."""
    if isinstance(term, Constant):
        raise KindMismatch("a value written in the rule is never null", "a feature")
    return Missing(term)


def listed(feature: Feature, value: str) -> Listed:
    """Return the condition that a list holds a text."""
    if feature.kind is not Kind.STRINGS:
        raise KindMismatch(f"{feature.name} is a {feature.kind}, not a list", "a list such as consented_purposes")
    return Listed(feature, value)


def like(term: Term, text: str) -> Pattern:
    """Return a pattern; only ``%`` at the ends is allowed, so that every target can express it."""
    if not isinstance(term, Feature) or term.kind is not Kind.STRING:
        raise KindMismatch(f"like needs a feature that is a text, {_named(term)} is a {term.kind}")
    inner = text.removeprefix("%").removesuffix("%") if len(text) > 1 else text.strip("%")
    if "%" in inner or "_" in inner or "\\" in inner or not inner:
        raise KindMismatch(
            f"the pattern '{text}' is not supported", "'x%', '%x' or '%x%'; no _, no backslash, no % within"
        )
    starts, ends = text.startswith("%"), text.endswith("%")
    shape = "contains" if starts and ends else "suffix" if starts else "prefix" if ends else "equals"
    return Pattern(term, shape, inner)  # type: ignore[arg-type]  # one of the four shapes above


def compare(operator: Operator, left: Term, right: Term) -> Condition:
    """Compare two terms, at least one of which reads a feature."""
    if isinstance(left, Constant) and isinstance(right, Constant):
        raise KindMismatch("the comparison reads no feature: it is always the same", "a feature, or true or false")
    first, second = _fit(left, right), _fit(right, left)
    if not _comparable(first.kind, second.kind):
        raise KindMismatch(
            f"{_named(first)} is a {first.kind}, {_named(second)} is a {second.kind}: they can't be compared",
            _hint(first, second),
        )
    if first.kind is Kind.STRINGS:
        raise KindMismatch(f"{_named(first)} is a list", "has_purpose('…') or '…' in " + _named(first))
    if first.kind in {Kind.STRING, Kind.BOOLEAN} and operator not in {"=", "<>"}:
        raise KindMismatch(f"{first.kind} has no order in rules: {operator} is refused", "=, <>, in or like")
    return _truth_test(operator, first, second) or Comparison(operator, first, second)


def one_of(term: Term, values: list[Term]) -> Condition:
    """Return the condition that a term is one of the values written in the rule."""
    fitted = []
    for value in values:
        if not isinstance(value, Constant):
            raise KindMismatch("the list after in holds values only", "texts, numbers, dates")
        constant_value = _fit(value, term)
        if not isinstance(constant_value, Constant) or constant_value.kind is not term.kind:
            raise KindMismatch(
                f"{_named(term)} is a {term.kind}, {_named(value)} is a {value.kind}", f"values that are a {term.kind}"
            )
        fitted.append(constant_value)
    if isinstance(term, Constant):
        raise KindMismatch("the comparison reads no feature: it is always the same", "a feature before in")
    if isinstance(term, Feature) and term.kind is Kind.BOOLEAN:
        return join([Flag(term, negated=not value.value) for value in dict.fromkeys(fitted)], Either)
    unique = dict.fromkeys(fitted)
    return OneOf(term, tuple(unique))


def _truth_test(operator: Operator, left: Term, right: Term) -> Flag | None:
    """Return ``feature = true`` and its likes as a flag."""
    feature, value = (left, right) if isinstance(left, Feature) else (right, left)
    if left.kind is Kind.BOOLEAN and isinstance(feature, Feature) and isinstance(value, Constant):
        return Flag(feature, negated=bool(value.value) != (operator == "="))
    return None


def _fit(term: Term, other: Term) -> Term:
    """Return a constant in the kind of what it is compared with, where that loses nothing."""
    if isinstance(term, Constant) and isinstance(term.value, (int, date)):
        if term.kind is Kind.INTEGER and other.kind is Kind.DOUBLE:
            return Constant(float(term.value), Kind.DOUBLE)  # type: ignore[arg-type]  # INTEGER means int
        if term.kind is Kind.DATE and other.kind is Kind.TIMESTAMP:
            day = term.value
            assert isinstance(day, date)  # noqa: S101 - DATE means date; tells the type checker
            return Constant(datetime(day.year, day.month, day.day), Kind.TIMESTAMP)  # noqa: DTZ001 - UTC
    return term


def _comparable(left: Kind, right: Kind) -> bool:
    if Kind.OTHER in {left, right}:
        return False
    return left is right or (left.is_numeric and right.is_numeric) or (left.is_temporal and right.is_temporal)


def _hint(left: Term, right: Term) -> str:
    if any(term.kind.is_temporal for term in (left, right)):
        return "date '2026-01-31', timestamp '2026-01-31 12:00:00' or days_since(feature)"
    return "two values of one kind"


def _named(term: Term) -> str:
    match term:
        case Feature(name):
            return name
        case Constant(value):
            return repr(value)
        case _:
            return "the expression"

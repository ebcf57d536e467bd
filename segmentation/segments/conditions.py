"""The typed form of a rule: conditions in negation normal form.

Belongs here: the nodes, and pushing ``not`` down to the leaves. Does not belong here: reading text
(``parser.py``), writing SQL (``rule_sql.py``) or evaluating one customer (``evaluation.py``). Because ``not``
stands at leaves only and a leaf over a null is never true, plain two-valued *and*/*or* over the leaves equals
SQL's ``(rule) is true``: a null is not a member, under ``not`` as well.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Literal

from segmentation.segments.kinds import Kind

Scalar = int | float | str | bool | date | datetime
Operator = Literal["=", "<>", "<", "<=", ">", ">="]

#: The feature that says which moment a feature row describes; ``days_since`` counts back from it.
AS_OF = "as_of"
#: The feature that lists the purposes a customer has consented to.
PURPOSES = "consented_purposes"

_OPPOSITE: dict[Operator, Operator] = {"=": "<>", "<>": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}


@dataclass(frozen=True, slots=True)
class Feature:
    """A column of the feature table."""

    name: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Constant:
    """A value written in the rule."""

    value: Scalar
    kind: Kind


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Two numbers combined, always as 64-bit floats; dividing by zero gives null.

    Floats are the one number type that every engine and edge shares: no overflow error for one customer can
    stop the rest. Whole numbers above 2^53 lose their last digits.
    """

    operator: Literal["+", "-", "*", "/"]
    left: "Term"
    right: "Term"
    kind: Kind = Kind.DOUBLE


@dataclass(frozen=True, slots=True)
class DaysSince:
    """Whole days, of 24 hours, from a moment to the row's ``as_of``; negative for a moment yet to come."""

    moment: Feature
    kind: Kind = Kind.INTEGER


Term = Feature | Constant | Arithmetic | DaysSince


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two terms of one kind, compared; whole numbers and numbers may mix, so may dates and timestamps."""

    operator: Operator
    left: Term
    right: Term


@dataclass(frozen=True, slots=True)
class OneOf:
    """A term is, or is not, one of the values written in the rule."""

    term: Term
    values: tuple[Constant, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Pattern:
    """A text begins with, ends with, contains or equals another, by letter case."""

    feature: Feature
    shape: Literal["equals", "prefix", "suffix", "contains"]
    text: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Missing:
    """A term is null, or is not null when negated."""

    term: Term
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Flag:
    """A boolean feature is true, or is false when negated."""

    feature: Feature
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Listed:
    """A feature that is a list holds a text; a missing list neither holds nor lacks it."""

    feature: Feature
    value: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class InSegment:
    """The customer is a member of another segment, as decided in the same evaluation."""

    key: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Always:
    """True, or false, for everyone."""

    truth: bool


@dataclass(frozen=True, slots=True)
class Every:
    """All of the parts hold."""

    parts: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class Either:
    """At least one of the parts holds."""

    parts: tuple["Condition", ...]


Leaf = Comparison | OneOf | Pattern | Missing | Flag | Listed | InSegment | Always
Condition = Leaf | Every | Either


def negate(condition: Condition) -> Condition:
    """Return the condition's opposite, in normal form; a null makes neither of the two true."""
    match condition:
        case Every(parts):
            return Either(tuple(negate(part) for part in parts))
        case Either(parts):
            return Every(tuple(negate(part) for part in parts))
        case Comparison(operator):
            return replace(condition, operator=_OPPOSITE[operator])
        case Always(truth):
            return Always(not truth)
        case _:
            return replace(condition, negated=not condition.negated)


def join(parts: list[Condition], of: Callable[[tuple[Condition, ...]], Every | Either]) -> Condition:
    """Combine parts with *and* or *or*, without nesting one within its like."""
    flat: list[Condition] = []
    for part in parts:
        # mypy can't see that `of` is one of the two classes.
        flat.extend(part.parts if isinstance(part, (Every, Either)) and type(part) is of else [part])
    return flat[0] if len(flat) == 1 else of(tuple(flat))


def leaves(condition: Condition) -> Iterator[Leaf]:
    """Yield the leaves from left to right."""
    if isinstance(condition, (Every, Either)):
        for part in condition.parts:
            yield from leaves(part)
    else:
        yield condition


def _term_features(term: Term) -> Iterator[str]:
    match term:
        case Feature(name):
            yield name
        case Arithmetic(_, left, right):
            yield from _term_features(left)
            yield from _term_features(right)
        case DaysSince(moment):
            yield moment.name
            yield AS_OF
        case Constant():
            return


def leaf_features(leaf: Leaf) -> list[str]:
    """Return the features that a leaf reads, in the order of their appearance."""
    match leaf:
        case Comparison(_, left, right):
            names = [*_term_features(left), *_term_features(right)]
        case OneOf(term) | Missing(term):
            names = list(_term_features(term))
        case Pattern(feature) | Flag(feature) | Listed(feature):
            names = [feature.name]
        case InSegment() | Always():
            names = []
    return list(dict.fromkeys(names))


def features_of(condition: Condition) -> list[str]:
    """Return every feature that the condition reads, in the order of their appearance."""
    return list(dict.fromkeys(name for leaf in leaves(condition) for name in leaf_features(leaf)))


def segments_of(condition: Condition) -> list[str]:
    """Return the keys of the segments that the condition asks about, in the order of their appearance."""
    return list(dict.fromkeys(leaf.key for leaf in leaves(condition) if isinstance(leaf, InSegment)))

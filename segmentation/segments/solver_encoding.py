"""Conditions as the solver z3 reads them, and what it finds as a row of features.

Belongs here: the meaning of every node to the solver. It lets through at least the rows that a condition holds for,
so what it finds impossible is impossible; what it finds possible is true once the evaluator has said so of the row.
Does not belong here: asking (``reasoning.py``), the codes of texts (``solver_texts.py``). Importing this module
imports the solver, so only ``reasoning.py`` does, when it is first asked.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from fractions import Fraction
from itertools import count
from typing import Any

import z3

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
    Scalar,
    Term,
    leaves,
)
from segmentation.segments.kinds import Kind
from segmentation.segments.solver_floats import EXACT, real, rounds_to
from segmentation.segments.solver_texts import Form, codes_of, exclusions, invent, matches

_DAY = 86_400_000_000
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - all moments are UTC
_EPOCH_DAY = _EPOCH.toordinal()
#: No type of whole numbers goes further.
_LARGEST_INTEGER = 2**128
#: What people take for an example: a moment like those they see.
_SHOWN_AS_OF = datetime(2026, 1, 1, 12)  # noqa: DTZ001 - all moments are UTC


def _micros(moment: date | datetime) -> int:
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day)  # noqa: DTZ001 - all moments are UTC
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _days(day: date) -> int:
    return day.toordinal() - _EPOCH_DAY


@dataclass(frozen=True, slots=True)
class _Value:
    """What a term is to the solver: when it is null, and what it is otherwise."""

    null: Any
    value: Any
    kind: Kind
    is_whole: bool


class Encoding:
    """Some conditions, over the same unknown row.

    Args:
        conditions: Every condition that will be asked about.
        required: Features that are never null.
        ideal: Take arithmetic for exact instead of rounded. Rows are found more easily so, but what is found
            impossible may be possible.

    Attributes:
        facts: What holds for every row, to be added before asking.
        is_rounded: Whether arithmetic occurs that floats round.
    """

    def __init__(self, conditions: Iterable[Condition], required: Collection[str], *, ideal: bool) -> None:
        self._required = required
        self._ideal = ideal
        self._terms: dict[Term, _Value] = {}
        self._listed: dict[tuple[str, str], Any] = {}
        self._segments: dict[str, Any] = {}
        self._floats: dict[Term, Any] = {}
        self._names = (f"v{number}" for number in count())
        self.facts: list[Any] = []
        self.is_rounded = False
        found = [leaf for condition in conditions for leaf in leaves(condition)]
        self._codes = codes_of(text for leaf in found for text in _texts(leaf))
        self._forms = sorted({_form(leaf) for leaf in found if isinstance(leaf, Pattern) and leaf.shape != "equals"})
        self._exclusions = list(exclusions(self._forms))
        # Texts of rules are no names to the solver: it would cut some of them short.
        self._has = {form: z3.Function(next(self._names), z3.IntSort(), z3.BoolSort()) for form in self._forms}
        for form, has in self._has.items():
            self.facts += [has(code) == matches(form, text) for text, code in self._codes.items()]

    def truth(self, condition: Condition) -> Any:
        """Return the condition as the solver reads it: true exactly where the rule is true."""
        match condition:
            case Every(parts):
                return z3.And([self.truth(part) for part in parts])
            case Either(parts):
                return z3.Or([self.truth(part) for part in parts])
            case _:
                return self._leaf(condition)

    def segment(self, key: str) -> Any:
        """Return membership of a segment, which is true or false on its own."""
        if key not in self._segments:
            self._segments[key] = z3.Bool(next(self._names))
        return self._segments[key]

    # -- leaves --------------------------------------------------------------------------------------------

    def _leaf(self, leaf: Leaf) -> Any:  # noqa: PLR0911 - one return per kind of leaf
        match leaf:
            case Comparison():
                return self._comparison(leaf)
            case OneOf(term, values, negated):
                found = self._term(term)
                is_one = z3.Or([found.value == self._term(value).value for value in values])
                return z3.And(z3.Not(found.null), z3.Xor(is_one, negated))
            case Pattern(feature, _, _, negated):
                found = self._term(feature)
                return z3.And(z3.Not(found.null), z3.Xor(self._matches(leaf, found.value), negated))
            case Missing(term, negated):
                return z3.Xor(self._term(term).null, negated)
            case Flag(feature, negated):
                found = self._term(feature)
                return z3.And(z3.Not(found.null), z3.Xor(found.value, negated))
            case Listed(feature, value, negated):
                held = self._holds(feature.name, value)
                return z3.And(z3.Not(self._term(feature).null), z3.Xor(held, negated))
            case InSegment(key, negated):
                return z3.Xor(self.segment(key), negated)
            case Always(truth):
                return z3.BoolVal(truth)

    def _holds(self, name: str, text: str) -> Any:
        if (name, text) not in self._listed:
            self._listed[name, text] = z3.Bool(next(self._names))
        return self._listed[name, text]

    def _matches(self, pattern: Pattern, code: Any) -> Any:
        if pattern.shape == "equals":
            return code == self._codes[pattern.text]
        return self._has[_form(pattern)](code)

    def _comparison(self, comparison: Comparison) -> Any:
        left, right = self._term(comparison.left), self._term(comparison.right)
        first, second = left.value, right.value
        kinds = {left.kind, right.kind}
        if kinds == {Kind.INTEGER, Kind.DOUBLE}:
            first, second = self._float(comparison.left), self._float(comparison.right)
        elif kinds == {Kind.DATE, Kind.TIMESTAMP}:
            first, second = _as_micros(left), _as_micros(right)
        return z3.And(z3.Not(left.null), z3.Not(right.null), _compare(comparison.operator, first, second))

    # -- terms ---------------------------------------------------------------------------------------------

    def _term(self, term: Term) -> _Value:
        found = self._terms.get(term)
        if found is None:
            found = self._terms[term] = self._new_term(term)
        return found

    def _new_term(self, term: Term) -> _Value:
        match term:
            case Feature():
                return self._feature(term)
            case Constant(value, kind):
                is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
                return _Value(z3.BoolVal(False), self._constant(value, kind), kind, is_whole)
            case DaysSince():
                return self._days_since(term)
            case Arithmetic():
                return self._arithmetic(term)

    def _feature(self, feature: Feature) -> _Value:
        name, kind = feature.name, feature.kind
        null = z3.BoolVal(False) if name in self._required else z3.Bool(next(self._names))
        if kind is Kind.DOUBLE:
            return _Value(null, z3.Real(next(self._names)), kind, is_whole=False)
        if kind is Kind.BOOLEAN:
            return _Value(null, z3.Bool(next(self._names)), kind, is_whole=False)
        value = z3.Int(next(self._names))
        if kind is Kind.INTEGER:
            self.facts += [value > -_LARGEST_INTEGER, value < _LARGEST_INTEGER]
        if kind is Kind.STRING:
            self.facts.append(value >= 0)
            for excluded in self._exclusions:
                clause = [self._has[form](value) != held for form, held in excluded]
                self.facts.append(z3.Or(value < len(self._codes), *clause))
        return _Value(null, value, kind, is_whole=kind is Kind.INTEGER)

    def _constant(self, value: Scalar, kind: Kind) -> Any:
        match value:
            case bool():
                return z3.BoolVal(value)
            case str():
                return z3.IntVal(self._codes[value])
            case datetime():
                return z3.IntVal(_micros(value))
            case date():
                return z3.IntVal(_days(value))
            case int() if kind is Kind.INTEGER:
                return z3.IntVal(value)
            case _:
                return real(Fraction(value))

    def _days_since(self, term: DaysSince) -> _Value:
        start, end = self._term(term.moment), self._term(Feature(AS_OF, Kind.TIMESTAMP))
        gap = end.value - _as_micros(start)
        days = z3.Int(next(self._names))
        # Whole days, cut towards zero.
        self.facts.append(
            z3.If(
                gap >= 0,
                z3.And(days * _DAY <= gap, gap < (days + 1) * _DAY),
                z3.And(days * _DAY >= gap, gap > (days - 1) * _DAY),
            )
        )
        return _Value(z3.Or(start.null, end.null), days, Kind.INTEGER, is_whole=True)

    def _arithmetic(self, term: Arithmetic) -> _Value:
        left, right = self._term(term.left), self._term(term.right)
        first, second = self._float(term.left), self._float(term.right)
        null = z3.Or(left.null, right.null)
        is_whole = left.is_whole and right.is_whole
        match term.operator:
            case "+":
                exact = first + second
            case "-":
                exact = first - second
            case "*":
                exact = first * second
            case "/":
                null = z3.Or(null, second == 0)
                exact = first / second
                is_whole = False
        unsure = [side for side, of in ((first, term.left), (second, term.right)) if isinstance(of, Arithmetic)]
        value = self._rounded(exact, is_whole=is_whole, is_sum=term.operator in "+-", unsure=unsure)
        return _Value(null, value, Kind.DOUBLE, is_whole)

    def _float(self, term: Term) -> Any:
        """Return a number as the float that it is compared and combined as."""
        found = self._term(term)
        if found.kind is Kind.DOUBLE:
            return found.value
        if isinstance(term, Constant):
            return real(Fraction(float(term.value)))  # type: ignore[arg-type]  # a whole number
        if term not in self._floats:
            rounded = self._rounded(z3.ToReal(found.value), is_whole=True)
            for other, value in self._floats.items():
                # However coarsely two numbers are rounded, they keep their order.
                before = self._term(other).value <= found.value
                self.facts += [z3.Implies(before, value <= rounded), z3.Or(before, value >= rounded)]
            self._floats[term] = rounded
        return self._floats[term]

    def _rounded(self, exact: Any, *, is_whole: bool, is_sum: bool = True, unsure: Sequence[Any] = ()) -> Any:
        self.is_rounded = True
        if self._ideal:
            return exact
        value = z3.Real(next(self._names))
        self.facts.append(rounds_to(exact, value, is_whole=is_whole, is_sum=is_sum, unsure=unsure))
        return value

    # -- rows ----------------------------------------------------------------------------------------------

    def readable(self) -> list[Any]:
        """Return what a row keeps to that reads like a customer's: no negative counts, moments of these years."""
        wished: list[Any] = []
        for term, found in self._terms.items():
            if isinstance(term, DaysSince):
                wished.append(found.value >= 0)
            if not isinstance(term, Feature):
                continue
            match term.kind:
                case Kind.INTEGER | Kind.DOUBLE:
                    wished += [found.value >= 0, found.value <= EXACT]
                case Kind.TIMESTAMP if term.name == AS_OF:
                    wished.append(found.value == _micros(_SHOWN_AS_OF))
                case Kind.TIMESTAMP | Kind.DATE:
                    moment = _as_micros(found)
                    wished += [moment >= _micros(date(2000, 1, 1)), moment < _micros(date(2100, 1, 1))]
            wished.append(z3.Not(found.null))
        return wished

    def others(self, model: Any) -> Any:
        """Return what keeps the solver from finding the same numbers again."""
        numbers = [
            found.value
            for term, found in self._terms.items()
            if isinstance(term, Feature) and (term.kind.is_numeric or term.kind.is_temporal)
        ]
        return z3.Or([number != model.eval(number, model_completion=True) for number in numbers])

    def row(self, model: Any) -> tuple[dict[str, Any], frozenset[str]]:
        """Return the features of a row that the solver found, and the segments that it is in.

        Raises:
            OverflowError, ValueError: Python has no such moment or number.
        """
        features: dict[str, Any] = {}
        texts: dict[int, str] = {code: text for text, code in self._codes.items()}
        for term, found in self._terms.items():
            if isinstance(term, Feature):
                is_null = z3.is_true(model.eval(found.null, model_completion=True))
                features[term.name] = None if is_null else self._python(term, found.value, model, texts)
        members = {key for key, held in self._segments.items() if z3.is_true(model.eval(held, model_completion=True))}
        return features, frozenset(members)

    def _python(self, feature: Feature, value: Any, model: Any, texts: dict[int, str]) -> Any:  # noqa: PLR0911 - one return per kind
        if feature.kind is Kind.STRINGS:
            held = [text for (name, text), one in self._listed.items() if name == feature.name and _is_true(model, one)]
            return sorted(held)
        if feature.kind is Kind.OTHER:
            return "…"
        found = model.eval(value, model_completion=True)
        match feature.kind:
            case Kind.BOOLEAN:
                return z3.is_true(found)
            case Kind.DOUBLE:
                exact = found.approx(30) if z3.is_algebraic_value(found) else found
                return float(exact.as_fraction())
            case Kind.DATE:
                return date.fromordinal(found.as_long() + _EPOCH_DAY)
            case Kind.TIMESTAMP:
                return _EPOCH + timedelta(microseconds=found.as_long())
            case Kind.STRING:
                return self._text(found.as_long(), model, texts)
            case _:
                return found.as_long()

    def _text(self, code: int, model: Any, texts: dict[int, str]) -> str:
        if code not in texts:
            held = [form for form, has in self._has.items() if _is_true(model, has(z3.IntVal(code)))]
            absent = [form for form in self._forms if form not in held]
            number = 0
            while (text := invent(held, absent, self._codes, number)) in texts.values():
                number += 1
            texts[code] = text
        return texts[code]


def _texts(leaf: Leaf) -> list[str]:
    """Return the texts that a leaf compares features with."""
    match leaf:
        case Comparison(_, left, right):
            values: Iterable[Term] = (left, right)
        case OneOf(_, listed):
            values = listed
        case Pattern(_, "equals", text):
            return [text]
        case _:
            return []
    return [value.value for value in values if isinstance(value, Constant) and isinstance(value.value, str)]


def _form(pattern: Pattern) -> Form:
    return (pattern.shape, pattern.text)  # type: ignore[return-value]  # `equals` has a code instead


def _is_true(model: Any, expression: Any) -> bool:
    return bool(z3.is_true(model.eval(expression, model_completion=True)))


def _as_micros(found: _Value) -> Any:
    return found.value * _DAY if found.kind is Kind.DATE else found.value


def _compare(operator: str, left: Any, right: Any) -> Any:
    match operator:
        case "=":
            return left == right
        case "<>":
            return left != right
        case "<":
            return left < right
        case "<=":
            return left <= right
        case ">":
            return left > right
        case _:
            return left >= right

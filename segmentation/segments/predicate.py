"""Many rules as one Python function, for one customer at a time.

Belongs here: writing the function and making it. Does not belong here: many customers at once (``rule_sql.py`` and the
engine) and why a rule does not hold (``evaluation.py``, which walks the tree and shows each clause).

The function is written as Python text and compiled once, so that a customer costs no walk over trees. Nothing of a
rule's own text gets into it: names of features and values written in rules are handed over as objects.
"""

from collections.abc import Callable, Iterator, Mapping
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
)
from segmentation.segments.evaluation import combine, days_between, moment_of
from segmentation.segments.kinds import Kind

#: Takes a feature row and the segments that the customer is in already; returns the keys of the rules that hold.
Predicate = Callable[..., list[str]]

_OPERATORS = {"=": "==", "<>": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


def compile_rules(rules: Mapping[str, Condition]) -> Predicate:
    """Return one function that says which of the rules hold for a customer.

    It is called with a row, which has every feature that a rule reads, and with the segments that ``in_segment`` asks
    about (none where left out); it returns the keys of the rules that hold, in their order here. It answers as
    ``evaluation.holds`` does for each rule, and raises ``KeyError`` where the row lacks a feature.
    """
    writer = _Writer()
    tests = [f"    if {writer.condition(rule)}: held.append({writer.given(key)})" for key, rule in rules.items()]
    lines = ["def decide(row, segments=()):", *writer.reads(), "    held = []", *tests, "    return held"]
    scope: dict[str, Any] = {
        "__builtins__": {"float": float},
        "days_between": days_between,
        "moment_of": moment_of,
        "combine": combine,
        **writer.objects,
    }
    exec(compile("\n".join(lines), "<rules>", "exec"), scope)  # noqa: S102 - every name in it is one of our own
    decide: Predicate = scope["decide"]
    return decide


class _Writer:
    """Writes Python; what a rule names or says is an object with a name of our own."""

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}
        self._given: dict[tuple[type, Any], str] = {}
        self._features: dict[str, Feature] = {}
        self._terms = 0

    def reads(self) -> Iterator[str]:
        """Yield what reads the features, each once."""
        for number, feature in enumerate(self._features.values()):
            yield f"    v{number} = row[{self.given(feature.name)}]"
            if feature.kind is Kind.DOUBLE:
                # Decimals count as the floats that every evaluator sees.
                yield f"    if v{number} is not None: v{number} = float(v{number})"

    def variable(self, feature: Feature) -> str:
        """Return the name that holds a feature's value."""
        self._features.setdefault(feature.name, feature)
        return f"v{list(self._features).index(feature.name)}"

    def given(self, value: Any) -> str:
        """Return the name of an object that is handed over."""
        name = self._given.setdefault((type(value), value), f"k{len(self._given)}")
        self.objects[name] = value
        return name

    def condition(self, condition: Condition) -> str:
        match condition:
            case Every(parts):
                return "(" + " and ".join(self.condition(part) for part in parts) + ")"
            case Either(parts):
                return "(" + " or ".join(self.condition(part) for part in parts) + ")"
            case _:
                return self._leaf(condition)

    def _leaf(self, leaf: Leaf) -> str:  # noqa: PLR0911 - one return per kind of leaf
        match leaf:
            case Always(truth):
                return str(truth)
            case InSegment(key, negated):
                return f"{self.given(key)} {'not in' if negated else 'in'} segments"
            case Missing(term, negated):
                return f"{self._value(term)} is {'not ' if negated else ''}None"
            case Flag(feature, negated):
                name = self.variable(feature)
                # A null is neither: it is not the False that `not` would make of it.
                return f"({name} is not None and {'not ' if negated else ''}{name})"
            case Listed(feature, value, negated):
                name = self.variable(feature)
                return f"({name} is not None and {self.given(value)} {'not in' if negated else 'in'} {name})"
            case Pattern():
                return self._pattern(leaf)
            case OneOf(term, values, negated):
                listed = self.given(frozenset(value.value for value in values))
                return self._with([term], lambda names: f"{names[0]} {'not in' if negated else 'in'} {listed}")
            case Comparison():
                return self._comparison(leaf)

    def _pattern(self, pattern: Pattern) -> str:
        name, text = self.variable(pattern.feature), self.given(pattern.text)
        test = {
            "prefix": f"{name}.startswith({text})",
            "suffix": f"{name}.endswith({text})",
            "contains": f"{text} in {name}",
            "equals": f"{name} == {text}",
        }[pattern.shape]
        return f"({name} is not None and {'not ' if pattern.negated else ''}({test}))"

    def _comparison(self, comparison: Comparison) -> str:
        left, right = comparison.left, comparison.right
        kinds = {left.kind, right.kind}
        widened = {
            frozenset({Kind.INTEGER, Kind.DOUBLE}): "float({})",
            frozenset({Kind.DATE, Kind.TIMESTAMP}): "moment_of({})",
        }.get(frozenset(kinds), "{}")

        def test(names: list[str]) -> str:
            first, second = (widened.format(name) for name in names)
            return f"{first} {_OPERATORS[comparison.operator]} {second}"

        return self._with([left, right], test)

    def _with(self, terms: list[Term], test: Callable[[list[str]], str]) -> str:
        """Write a test of terms behind the guards that they are not null; a computed term is computed once."""
        names, guards = [], []
        for term in terms:
            name = written = self._value(term)
            if isinstance(term, Feature):
                guards.append(f"{name} is not None")
            elif not isinstance(term, Constant):
                self._terms += 1
                name = f"t{self._terms}"
                guards.append(f"({name} := {written}) is not None")
            names.append(name)
        return "(" + " and ".join([*guards, test(names)]) + ")"

    def _value(self, term: Term) -> str:
        match term:
            case Feature():
                return self.variable(term)
            case Constant(value):
                return self.given(value)
            case DaysSince(moment):
                as_of = self.variable(Feature(AS_OF, Kind.TIMESTAMP))
                return f"days_between({self.variable(moment)}, {as_of})"
            case Arithmetic(operator, left, right):
                return f"combine({self.given(operator)}, {self._value(left)}, {self._value(right)})"

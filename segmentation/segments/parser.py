"""Reading a rule: text to a typed condition, or every fault in it.

Belongs here: walking the syntax, node by node. Does not belong here: which syntax is allowed (``syntax.py``),
what kinds go together (``typing_rules.py``), what a condition means (``conditions.py``).
"""

from collections.abc import Callable
from typing import Any, TypeVar

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from segmentation.errors import did_you_mean
from segmentation.segments import typing_rules as typed
from segmentation.segments.conditions import (
    PURPOSES,
    Always,
    Condition,
    Constant,
    DaysSince,
    Either,
    Every,
    Feature,
    InSegment,
    Listed,
    Operator,
    Term,
    join,
    negate,
)
from segmentation.segments.faults import Fault, RuleError
from segmentation.segments.kinds import Contract, Kind, kind_of
from segmentation.segments.syntax import (
    ALLOWED,
    CLOCKS,
    FUNCTIONS,
    MAX_DEPTH,
    check_limits,
    fault_at,
    look_alikes,
    shortened,
    syntax_fault,
    too_deep,
)

_COMPARISONS: dict[type, Operator] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
}
_ARITHMETIC = {exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/"}
Built = TypeVar("Built")

_LITERAL_TYPES = {"DATE": Kind.DATE, "TIMESTAMP": Kind.TIMESTAMP, "TIMESTAMPNTZ": Kind.TIMESTAMP}


def parse_rule(text: str, contract: Contract) -> Condition:
    """Read a rule and check it against the features.

    The language is a part of DuckDB's SQL: ``= <> < <= > >=``, ``between``, ``in`` over values, ``is [not] null``,
    ``is [not] true``, ``like`` with ``%`` at the ends, ``and or not``, ``+ - * /`` in 64-bit floats (dividing by
    zero gives null), boolean features by themselves, ``date '…'`` and ``timestamp '…'``, comparisons of features
    with features, ``days_since(feature)``, ``has_purpose('…')``, ``'…' in feature`` for lists and
    ``in_segment('…')``. Logic is three-valued as in SQL and a customer is a member where the rule is true: a null
    never makes a comparison true, under ``not`` neither.

    Args:
        text: A boolean expression over features.
        contract: Feature name to column type.

    Returns:
        The typed condition in negation normal form.

    Raises:
        RuleError: With every fault found, each with its line and column within ``text``.
    """
    reader = _Reader(text, contract)
    condition = reader.read()
    if reader.faults:
        raise RuleError(reader.faults)
    return condition


class _Reader:
    def __init__(self, text: str, contract: Contract) -> None:
        self._text = text
        self._contract = contract
        self.faults: list[Fault] = []
        #: How deep in arithmetic the reader is; a row of operators nests as parentheses do.
        self._operators = 0

    def read(self) -> Condition:
        try:
            check_limits(self._text)
            statements = sqlglot.parse(self._text, dialect="duckdb")
        except SqlglotError as error:
            self.faults.append(syntax_fault(error))
            return Always(truth=False)
        except RuleError as error:
            self.faults.extend(error.faults)
            return Always(truth=False)
        except RecursionError:
            # Some syntax that no rule has nests without parentheses.
            self.faults.extend(too_deep(self._text).faults)
            return Always(truth=False)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            # The parser stumbles over some texts that are nothing at all.
            self.faults.append(syntax_fault(SqlglotError("no expression")))
            return Always(truth=False)
        tree = statements[0] if len(statements) == 1 else None
        if tree is None:
            self.faults.append(Fault("a rule is exactly one expression", expected="for example: orders_90d >= 3"))
            return Always(truth=False)
        return self._collect(tree)

    # -- positions -----------------------------------------------------------------------------------------

    def _offset(self, node: Any) -> int | None:
        starts = [part.meta["start"] for part in node.walk() if "start" in part.meta]
        return min(starts) if starts else None

    def _refusal(self, node: Any, what: str, *, expected: str = "", repair: str = "") -> RuleError:
        offset = None if node is None else self._offset(node)
        if offset is None:
            return RuleError([Fault(what, expected=expected, repair=repair)])
        return RuleError([fault_at(self._text, offset, what, expected=expected, repair=repair)])

    def _typed(self, node: Any, build: Callable[[], Built]) -> Built:
        """Run a check of kinds; place its complaint at the node."""
        try:
            return build()
        except typed.KindMismatch as mismatch:
            raise self._refusal(node, mismatch.what, expected=mismatch.expected) from None

    # -- conditions ----------------------------------------------------------------------------------------

    def _collect(self, node: Any) -> Condition:
        """Read a node; note its faults instead of stopping, so that its neighbours are read too."""
        try:
            return self._condition(node)
        except RuleError as error:
            self.faults.extend(error.faults)
            return Always(truth=False)

    def _check_allowed(self, node: Any) -> None:
        allowed = ALLOWED.get(type(node))
        if allowed is None:
            name = node.sql_name() if isinstance(node, exp.Func) else type(node).__name__
            if name.lower().replace("_", "") in {clock.replace("_", "") for clock in CLOCKS}:
                raise self._clock_refusal(node)
            raise self._refusal(
                node,
                f"{name} is not part of the rule language",
                expected="comparisons, between, in, like, is null, and, or, not, + - * /, " + ", ".join(FUNCTIONS),
            )
        extra = sorted(name for name, value in node.args.items() if value and name not in allowed)
        if extra:
            what = "a qualified name" if isinstance(node, exp.Column) else f"{type(node).__name__} with {extra[0]}"
            raise self._refusal(node, f"{what} is not part of the rule language", expected="the plain form")

    def _clock_refusal(self, node: Any) -> RuleError:
        return self._refusal(
            node,
            "a rule can't ask for the present moment: it must give the same answer for the same as_of",
            expected="days_since(feature), counted back from the run's as_of",
        )

    def _condition(self, node: Any) -> Condition:
        self._check_allowed(node)
        if isinstance(node, exp.Paren):
            return self._condition(node.this)
        if isinstance(node, exp.Not):
            return negate(self._condition(node.this))
        if isinstance(node, (exp.And, exp.Or)):
            parts = [self._collect(part) for part in node.flatten()]
            return join(parts, Every if isinstance(node, exp.And) else Either)
        if isinstance(node, exp.Boolean):
            return Always(truth=bool(node.this))
        if isinstance(node, (exp.Anonymous, exp.ArrayContains)):
            return self._call(node)
        return self._leaf(node)

    def _leaf(self, node: Any) -> Condition:
        if isinstance(node, exp.Column):
            feature = self._feature(node)
            return self._typed(node, lambda: typed.flag(feature))
        if isinstance(node, exp.In):
            return self._membership(node)
        if isinstance(node, exp.Is):
            return self._is(node)
        if isinstance(node, exp.Like):
            return self._like(node)
        if isinstance(node, exp.Between):
            term, low, high = self._term(node.this), self._term(node.args["low"]), self._term(node.args["high"])
            return self._typed(node, lambda: Every((typed.compare(">=", term, low), typed.compare("<=", term, high))))
        operator = _COMPARISONS.get(type(node))
        if operator is None:
            raise self._refusal(
                node,
                f"this is a value ({type(node).__name__}), not something true or false",
                expected="a comparison, or a feature that is true or false",
            )
        left, right = self._term(node.this), self._term(node.expression)
        return self._typed(node, lambda: typed.compare(operator, left, right))

    def _membership(self, node: Any) -> Condition:
        if node.args.get("field") is not None:
            field = node.args["field"]
            self._check_allowed(field)
            if not isinstance(field, exp.Column):
                raise self._refusal(
                    field, "after in stands a list of values in parentheses, or a feature that is a list"
                )
            return self._listed(node, self._feature(field), node.this)
        if not node.expressions:
            raise self._refusal(node, "the list after in is empty", expected="at least one value")
        term = self._term(node.this)
        values = [self._term(value) for value in node.expressions]
        return self._typed(node, lambda: typed.one_of(term, values))

    def _is(self, node: Any) -> Condition:
        if isinstance(node.expression, exp.Null):
            term = self._term(node.this)
            return self._typed(node, lambda: typed.missing(term))
        if isinstance(node.expression, exp.Boolean):
            if not isinstance(node.this, exp.Column):
                raise self._refusal(node, "is true and is false follow a feature")
            feature = self._feature(node.this)
            return self._typed(node, lambda: typed.is_truth(feature, truth=bool(node.expression.this)))
        raise self._refusal(node, "after is stands null, true or false")

    def _like(self, node: Any) -> Condition:
        self._check_allowed(node.expression)
        if not (isinstance(node.expression, exp.Literal) and node.expression.is_string):
            raise self._refusal(node.expression, "after like stands a text in quotes")
        term = self._term(node.this)
        pattern = self._typed(node, lambda: typed.like(term, node.expression.this))
        return negate(pattern) if node.args.get("negate") else pattern

    def _listed(self, node: Any, feature: Feature, value: Any) -> Listed:
        self._check_allowed(value)
        if not (isinstance(value, exp.Literal) and value.is_string):
            raise self._refusal(node, "what is looked for in a list is a text in quotes")
        return self._typed(node, lambda: typed.listed(feature, value.this))

    def _call(self, node: Any) -> Condition:
        if isinstance(node, exp.ArrayContains):
            self._check_allowed(node.this)
            if not isinstance(node.this, exp.Column):
                raise self._refusal(node, "list_contains looks in a feature")
            return self._listed(node, self._feature(node.this), node.expression)
        name = str(node.this).lower()
        if name == "has_purpose":
            return self._listed(node, self._named_feature(PURPOSES, node), self._argument(node, name))
        if name == "in_segment":
            key = self._argument(node, name)
            if not (isinstance(key, exp.Literal) and key.is_string):
                raise self._refusal(node, "in_segment takes a segment's key in quotes", expected="in_segment('vip')")
            return InSegment(key.this)
        if name == "days_since":
            raise self._refusal(node, "days_since gives a number of days", expected="days_since(feature) > 30")
        raise self._function_refusal(node, name)

    def _argument(self, node: Any, name: str) -> Any:
        if len(node.expressions) != 1:
            raise self._refusal(node, f"{name} takes one argument, not {len(node.expressions)}")
        return node.expressions[0]

    def _function_refusal(self, node: Any, name: str) -> RuleError:
        if name in CLOCKS:
            return self._clock_refusal(node)
        return self._refusal(
            node,
            f"unknown function {name}{did_you_mean(name, FUNCTIONS)}",
            expected="one of " + ", ".join(FUNCTIONS),
        )

    # -- terms ---------------------------------------------------------------------------------------------

    def _feature(self, node: Any) -> Feature:
        self._check_allowed(node)
        self._check_allowed(node.this)
        return self._named_feature(str(node.this.this).lower(), node)

    def _named_feature(self, name: str, node: Any) -> Feature:
        column_type = self._contract.get(name)
        if column_type is None:
            raise self._refusal(
                node,
                f"unknown feature {shortened(name)}{look_alikes(name)}{did_you_mean(name, self._contract)}",
                expected="a column of features.customer_features",
            )
        return Feature(name, kind_of(column_type))

    def _term(self, node: Any) -> Term:  # noqa: PLR0911 - one return per kind of node
        if isinstance(node, exp.Null):
            raise self._refusal(
                node, "null can't be compared: the result is never true", expected="is null, is not null"
            )
        self._check_allowed(node)
        if isinstance(node, exp.Paren):
            return self._term(node.this)
        if isinstance(node, exp.Column):
            return self._feature(node)
        if isinstance(node, exp.Literal):
            return self._typed(node, lambda: typed.constant(node.this, is_text=node.is_string))
        if isinstance(node, exp.Boolean):
            return Constant(bool(node.this), Kind.BOOLEAN)
        if isinstance(node, exp.Cast):
            return self._moment(node)
        if isinstance(node, exp.Neg):
            inner = self._term(node.this)
            return self._typed(node, lambda: typed.minus(inner))
        if isinstance(node, exp.Anonymous):
            return self._days_since(node)
        operator = _ARITHMETIC.get(type(node))
        if operator is None:
            raise self._refusal(node, "a condition can't be compared with something", expected="a feature or a value")
        self._operators += 1
        try:
            if self._operators > MAX_DEPTH:
                raise too_deep(self._text, self._offset(node) or 0)
            left, right = self._term(node.this), self._term(node.expression)
        finally:
            self._operators -= 1
        return self._typed(node, lambda: typed.arithmetic(operator, left, right))

    def _moment(self, node: Any) -> Constant:
        kind = _LITERAL_TYPES.get(str(node.args["to"].this.value))
        if kind is None or not (isinstance(node.this, exp.Literal) and node.this.is_string):
            raise self._refusal(
                node,
                "conversions are not part of the rule language",
                expected="date '2026-01-31' or timestamp '2026-01-31 12:00:00'",
            )
        return self._typed(node, lambda: typed.moment(node.this.this, kind))

    def _days_since(self, node: Any) -> Term:
        name = str(node.this).lower()
        if name in {"has_purpose", "in_segment"}:
            raise self._refusal(node, f"{name} is true or false by itself", expected=f"{name}('…'), without comparison")
        if name != "days_since":
            raise self._function_refusal(node, name)
        feature = self._argument(node, name)
        self._check_allowed(feature)
        if not isinstance(feature, exp.Column):
            raise self._refusal(node, "days_since takes a feature", expected="days_since(last_order_at)")
        self._named_feature("as_of", node)
        moment = self._feature(feature)
        return self._typed(node, lambda: DaysSince(typed.temporal(moment)))

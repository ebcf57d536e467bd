"""Writing conditions: as DuckDB SQL, and as the rule language's one canonical text.

Belongs here: every character of SQL that a rule becomes. Does not belong here: which rows it runs over
(``candidate.py``). What runs is always this SQL, never a rule's own text: engines read literals differently,
the typed form has one meaning.
"""

from collections.abc import Callable

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
from segmentation.segments.kinds import Kind
from segmentation.warehouse import literal, quote

#: Turns the key of a segment into the SQL condition that the customer is in it.
InSegmentSql = Callable[[str], str]


def is_published_member(key: str) -> str:
    """Return the SQL condition that the customer is in a segment as published."""
    return f"(customer_id in (select m.customer_id from segments.membership as m where m.segment_key = {literal(key)}))"


def to_sql(condition: Condition, in_segment: InSegmentSql = is_published_member) -> str:
    """Return DuckDB SQL that is true exactly where the condition holds; elsewhere it is false or null.

    Args:
        condition: What to write.
        in_segment: How to ask whether the customer is in a segment; unless told otherwise, of what is published.
    """
    return _Writer(in_segment).condition(condition)


def to_text(condition: Condition) -> str:
    """Return the condition in the rule language: equal conditions give equal text, however they were written."""
    return _Writer(None).condition(condition)


class _Writer:
    """Writes SQL, or the rule language where nothing says how SQL asks for a segment."""

    def __init__(self, in_segment: InSegmentSql | None) -> None:
        self._in_segment = in_segment

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
            case Comparison(operator, left, right):
                return f"{self._side(left, right)} {operator} {self._side(right, left)}"
            case OneOf(term, values, negated):
                listed = ", ".join(self._term(value) for value in values)
                return f"{self._term(term)} {'not in' if negated else 'in'} ({listed})"
            case Pattern(feature, shape, text, negated):
                pattern = {"prefix": text + "%", "suffix": "%" + text, "contains": f"%{text}%"}.get(shape, text)
                return f"{self._term(feature)} {'not like' if negated else 'like'} {literal(pattern)}"
            case Missing(term, negated):
                return f"{self._term(term)} is {'not null' if negated else 'null'}"
            case Flag(feature, negated):
                return f"{'not ' if negated else ''}{self._term(feature)}"
            case Always(truth):
                return "true" if truth else "false"
            case Listed() | InSegment():
                return ("not " if leaf.negated else "") + self._call(leaf)

    def _call(self, leaf: Listed | InSegment) -> str:
        if isinstance(leaf, Listed):
            return f"list_contains({self._name(leaf.feature.name)}, {literal(leaf.value)})"
        if self._in_segment is None:
            return f"in_segment({literal(leaf.key)})"
        return self._in_segment(leaf.key)

    def _side(self, term: Term, other: Term) -> str:
        """Write one side of a comparison, widened to the kind of the other where the two differ."""
        written = self._term(term)
        if self._in_segment is None or term.kind == other.kind:
            return written
        if term.kind is Kind.INTEGER:
            return f"cast({written} as double)"
        if term.kind is Kind.DATE:
            return f"cast({written} as timestamp)"
        return written

    def _term(self, term: Term) -> str:
        match term:
            case Feature(name, kind):
                # A decimal is compared as the float that every other evaluator sees.
                return f"cast({self._name(name)} as double)" if self._widens(kind) else self._name(name)
            case Constant(value, kind):
                return self._constant(value, kind)
            case DaysSince(moment) if self._in_segment is None:
                return f"days_since({moment.name})"
            case DaysSince(moment):
                written = self._name(moment.name)
                if moment.kind is Kind.DATE:
                    written = f"cast({written} as timestamp)"
                return f"date_sub('day', {written}, {self._name(AS_OF)})"
            case Arithmetic(operator, left, right):
                divisor = self._operand(right)
                if operator == "/" and self._in_segment is not None:
                    divisor = f"nullif({divisor}, 0)"
                return f"({self._operand(left)} {operator} {divisor})"

    def _operand(self, term: Term) -> str:
        written = self._term(term)
        if self._in_segment is None or isinstance(term, Arithmetic):
            return written
        return written if written.startswith("cast(") else f"cast({written} as double)"

    def _widens(self, kind: Kind) -> bool:
        return self._in_segment is not None and kind is Kind.DOUBLE

    def _name(self, name: str) -> str:
        return name if self._in_segment is None else quote(name)

    def _constant(self, value: object, kind: Kind) -> str:
        match kind:
            case Kind.STRING:
                return literal(str(value))
            case Kind.DATE:
                return f"date '{value}'"
            case Kind.TIMESTAMP:
                return f"timestamp '{value}'"
            case Kind.DOUBLE if self._in_segment is not None:
                return f"cast({value!r} as double)"
            case _:
                return repr(value)

"""A rule in words, for people who do not read SQL.

Belongs here: the wording of every node of a condition. Does not belong here: the rule language itself (``rule_sql.py``
writes that). Words leave nothing out: what a clause asks of which feature stays readable from them.
"""

from segmentation.segments.conditions import (
    PURPOSES,
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

_COMPARED = {"=": "is", "<>": "is not", "<": "is less than", "<=": "is at most", ">": "is more than",
             ">=": "is at least"}  # fmt: skip
_SHAPES = {"equals": "is", "prefix": "begins with", "suffix": "ends with", "contains": "contains"}
_NOT_SHAPES = {"equals": "is not", "prefix": "does not begin with", "suffix": "does not end with",
               "contains": "does not contain"}  # fmt: skip
_MICROS = "_micros"
_MILLION = 1_000_000


def in_words(condition: Condition) -> str:
    """Return the condition as a phrase; parts of another kind than the whole stand in parentheses."""
    if isinstance(condition, (Every, Either)):
        joined = " and " if isinstance(condition, Every) else " or "
        return joined.join(_part(part) for part in condition.parts)
    return _leaf(condition)


def _leaf(leaf: Leaf) -> str:
    match leaf:
        case Comparison(operator, left, right):
            in_units = _is_money(left) or _is_money(right)
            text = f"{_term(left, in_units=in_units)} {_COMPARED[operator]} {_term(right, in_units=in_units)}"
        case OneOf(term, values, negated):
            listed = ", ".join(_term(value, in_units=_is_money(term)) for value in values)
            text = f"{_term(term)} is {'none' if negated else 'one'} of {listed}"
        case Pattern(feature, shape, words, negated):
            text = f"{_name(feature)} {(_NOT_SHAPES if negated else _SHAPES)[shape]} “{words}”"
        case Missing(term, negated):
            text = f"{_term(term)} is {'known' if negated else 'unknown'}"
        case Flag(feature, negated):
            text = f"{_name(feature)} is {'false' if negated else 'true'}"
        case Listed(Feature(name), value, negated) if name == PURPOSES:
            text = f"has {'not ' if negated else ''}allowed {value}"
        case Listed(feature, value, negated):
            text = f"{_name(feature)} {'lacks' if negated else 'holds'} “{value}”"
        case InSegment(key, negated):
            text = f"is {'not ' if negated else ''}in segment {key}"
        case Always(truth):
            text = "everyone" if truth else "nobody"
    return text


def clauses_in_words(condition: Condition) -> tuple[str | None, tuple[str, ...]]:
    """Return what joins the parts of the whole, ``and`` or ``or``, and each in words; ``None`` for a single one."""
    if isinstance(condition, (Every, Either)):
        joined = "and" if isinstance(condition, Every) else "or"
        return joined, tuple(in_words(part) for part in condition.parts)
    return None, (in_words(condition),)


def _part(condition: Condition) -> str:
    text = in_words(condition)
    return f"({text})" if isinstance(condition, (Every, Either)) else text


def _name(feature: Feature) -> str:
    return feature.name.replace(_MICROS, "").replace("_", " ")


def _term(term: Term, *, in_units: bool = False) -> str:
    match term:
        case Feature():
            return _name(term)
        case DaysSince(moment):
            return f"days since {_name(moment)}"
        case Arithmetic(operator, left, right):
            return f"({_term(left)} {operator} {_term(right)})"
        case Constant(value):
            if in_units and isinstance(value, int | float) and not isinstance(value, bool):
                return f"{value / _MILLION:,.10g}"
            return f"“{value}”" if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else str(value)


def _is_money(term: Term) -> bool:
    """Say whether a term is an amount in micros by itself; a computed one is left in the units that it has."""
    return isinstance(term, Feature) and _MICROS in term.name

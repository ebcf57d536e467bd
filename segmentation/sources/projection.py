"""A mapping as SQL: from the raw columns of a file to typed canonical values, with a reason for every refusal.

Belongs here: casts, required values, reject rules, and the wording of their reasons. Does not belong here: reading
files (`reader.py`), writing rows (`staging.py`) or the codes of reasons (`reasons.py`). No value is shifted or guessed
in silence: one that its type can't hold is refused; decimals alone are rounded, to their column's scale.
"""

from dataclasses import dataclass

from segmentation.sources.entities import Column
from segmentation.sources.feeds import ColumnRule, EntityMapping, RejectRule
from segmentation.sources.reasons import (
    MISSING,
    NOT_COMPUTED,
    REJECTED,
    UNDECIDED,
    WRONG_TYPE,
    Cause,
    code_of,
    codes_sql,
    words_sql,
)
from segmentation.warehouse import literal, quote

_KINDS = {
    "BIGINT": "a whole number",
    "DOUBLE": "a number",
    "BOOLEAN": "true or false",
    "TIMESTAMP": "a timestamp",
    "DATE": "a date",
    "JSON": "valid JSON",
    "VARCHAR": "text",
}

#: Characters of a refused value that its reason shows.
_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Projection:
    """The SQL pieces that turn a relation of raw rows into canonical rows.

    Attributes:
        typed: Select list of level two: typed values under their canonical names.
        accepted: Condition over level two: the row is whole.
        reason: Expression over level two: why it is not; empty text for an accepted row.
        reason_code: The same, as codes of `reasons.py`, for programs: without any value of the row.
    """

    typed: tuple[str, ...]
    accepted: str
    reason: str
    reason_code: str


def raw_select(mapping: EntityMapping, null_values: tuple[str, ...], types: dict[str, str]) -> tuple[str, ...]:
    """Return level one: what each canonical column is made of (``r<i>``), and the reject flags (``x<i>``).

    An expression is evaluated row by row under ``try``; wrapped in a struct, so that a failure (no struct)
    differs from a null (a struct that holds it). ``types`` are the DuckDB types of the file's columns by
    lower-case name.
    """
    items = []
    for index, rule in enumerate(mapping.columns.values()):
        items.append(f"{_raw_value(rule, null_values, types)} as r{index}")
    items += [f"try({{'v': {rule.parsed.sql}}}) as x{index}" for index, rule in enumerate(mapping.reject)]
    return tuple(items)


def _raw_value(rule: ColumnRule, null_values: tuple[str, ...], types: dict[str, str]) -> str:
    if rule.column is not None:
        if types.get(rule.column.lower(), "VARCHAR") != "VARCHAR":
            return quote(rule.column)
        return without_nulls(quote(rule.column), null_values)
    if rule.parsed is not None:
        return f"try({{'v': {rule.parsed.sql}}})"
    constant = rule.constant
    if isinstance(constant, bool):
        return "true" if constant else "false"
    return literal(str(constant))


def without_nulls(value: str, null_values: tuple[str, ...]) -> str:
    """Return SQL for ``value`` with the texts that mean "no value" made null."""
    if not null_values:
        return value
    if len(null_values) == 1:
        return f"nullif({value}, {literal(null_values[0])})"
    return f"case when {value} in ({', '.join(map(literal, null_values))}) then null else {value} end"


def project(mapping: EntityMapping, types: dict[str, str]) -> Projection:
    """Return the whole projection.

    Args:
        mapping: What to fill.
        types: DuckDB types of the level-one columns; an expression's is its struct's field.
    """
    columns = {column.name: column for column in mapping.canonical.columns}
    typed, conditions = [], []
    causes: list[list[Cause]] = []
    for index, reject in enumerate(mapping.reject):
        conditions.append(f"(x{index} is not null and x{index}.v is not true)")
        causes.append(_reject_causes(index, reject))
    for index, (name, rule) in enumerate(mapping.columns.items()):
        column = columns[name]
        value = f"r{index}.v" if rule.parsed else f"r{index}"
        given = types[f"r{index}"]
        cast = cast_value(value, given, column.type, rule.format)
        typed.append(f"{cast} as {quote(name)}")
        conditions += _conditions(index, rule, column, is_cast=cast != value, value=value)
        causes.append(_column_causes(index, rule, column, value))
    accepted = " and ".join(conditions) or "true"
    return Projection(tuple(typed), accepted, words_sql(causes), codes_sql(causes))


def _conditions(index: int, rule: ColumnRule, column: Column, *, is_cast: bool, value: str) -> list[str]:
    conditions = []
    if rule.parsed:
        conditions.append(f"r{index} is not null")
    if column.required:
        conditions.append(f"{quote(column.name)} is not null")
    elif is_cast:
        conditions.append(f"({quote(column.name)} is not null or {value} is null)")
    return conditions


def _reject_causes(index: int, rule: RejectRule) -> list[Cause]:
    failure = f"the reject rule can not be computed: {rule.when}"
    return [
        Cause(f"x{index} is null", code_of(UNDECIDED, rule.reason), literal(failure)),
        Cause(f"x{index}.v", code_of(REJECTED, rule.reason), literal(rule.reason)),
    ]


def _column_causes(index: int, rule: ColumnRule, column: Column, value: str) -> list[Cause]:
    name = column.name
    causes = []
    if rule.parsed:
        failure = f"{name}: can not be computed from the row: {rule.expression}"
        causes.append(Cause(f"r{index} is null", code_of(NOT_COMPUTED, name), literal(failure)))
    kind = _KINDS.get(column.type, f"a number of type {column.type}")
    suffix = f" (format {rule.format})" if rule.format else ""
    shown = f"left(cast({value} as varchar), {_SHOWN})"
    wrong = f"concat({literal(f'{name}: ')}, '''', {shown}, '''', {literal(f' is not {kind}{suffix}')})"
    causes.append(Cause(f"{value} is not null and {quote(name)} is null", code_of(WRONG_TYPE, name), wrong))
    if column.required:
        missing = literal(f"{name}: required value is missing")
        causes.append(Cause(f"{value} is null", code_of(MISSING, name), missing))
    return causes


def cast_value(value: str, given: str, wanted: str, text_format: str | None) -> str:
    """Return SQL that is ``value`` as type ``wanted``, null where it can't be that exactly.

    Args:
        value: SQL of the value.
        given: Its DuckDB type.
        wanted: The canonical column's type.
        text_format: A strptime format for text that holds a timestamp or a date.
    """
    if given == "NULL":
        return f"cast({value} as {wanted})"
    if wanted == "TIMESTAMP":
        return _timestamp(value, given, text_format)
    if wanted == "DATE":
        return _date(value, given, text_format)
    if wanted in {"BIGINT", "DOUBLE"}:
        return _number(value, given, wanted)
    if given == wanted:
        return value
    return f"to_json({value})" if wanted == "JSON" and given != "VARCHAR" else f"try_cast({value} as {wanted})"


def _number(value: str, given: str, wanted: str) -> str:
    number = value if given == wanted else f"try_cast({value} as {wanted})"
    if wanted == "DOUBLE":
        return f"case when isfinite({number}) then {number} end"
    if given.endswith("INT") or given == "INTEGER":
        return number
    # The engine rounds 12.7 to 13; equality with the double tells a whole number from a rounded one.
    return f"case when try_cast({value} as double) = {number} then {number} end"


def _date(value: str, given: str, text_format: str | None) -> str:
    if given != "VARCHAR":
        return value if given == "DATE" else f"try_cast({value} as date)"
    moment = f"try_strptime({value}, {literal(text_format)})" if text_format else f"try_cast({value} as date)"
    day = f"cast({moment} as date)"
    return f"case when isfinite({day}) then {day} end"


def _timestamp(value: str, given: str, text_format: str | None) -> str:
    if given == "TIMESTAMP":
        return value
    if given == "TIMESTAMP WITH TIME ZONE":
        return f"timezone('UTC', {value})"
    if given != "VARCHAR":
        return f"try_cast({value} as timestamp)"
    if text_format is not None:
        moment = f"try_strptime({value}, {literal(text_format)})"
        return f"timezone('UTC', {moment})" if "%z" in text_format else moment
    # A plain cast drops an offset in silence, so only the two commonest forms without one take it.
    plain = f"length({value}) = 10 or (length({value}) = 19 and substr({value}, 17, 1) = ':')"
    moment = (
        f"case when {plain} then try_cast({value} as timestamp) "
        f"else timezone('UTC', try_cast({value} as timestamptz)) end"
    )
    return f"case when isfinite({moment}) then {moment} end"

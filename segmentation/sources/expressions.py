"""The SQL that a mapping file may hold: one scalar expression over the columns of one row.

Belongs here: the guard that lets scalar expressions through and refuses everything else. Does not belong
here: where expressions stand in a mapping (`mapping.py`) or how they run (`projection.py`). The guard reads
DuckDB's own syntax tree, so what is checked is exactly what will be executed.
"""

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

import duckdb

from segmentation.errors import did_you_mean

_FUNCTIONS = """
    + - * / // % ** ^ || ~~ !~~ ~~* !~~* ~~~ ~~~* -> ->>
    abs add between ceil ceiling coalesce concat concat_ws contains date_add date_diff date_part date_sub
    date_trunc datediff datepart datetrunc day dayofweek dayofyear decode divide ends_with epoch epoch_ms epoch_ns
    epoch_us even exp floor format from_base64 from_hex greatest hex hour if ifnull instr isfinite isinf isnan
    json_extract json_extract_string json_type json_valid last_day lcase least left len length like_escape list_extract
    list_value ln log log10 log2 lower lpad ltrim make_date make_time make_timestamp md5 minute mod month multiply
    nfc_normalize not_like_escape nullif ord parse_path pi position pow power prefix quarter
    regexp_extract regexp_full_match regexp_matches regexp_replace replace reverse right round row rpad rtrim
    second sha1 sha256 sign split split_part sqrt starts_with str_split strftime string_split strip_accents strlen
    strpos strptime struct_extract substr substring subtract suffix timezone to_base64 to_days to_hours
    to_json to_microseconds to_milliseconds to_minutes to_months to_seconds to_timestamp to_weeks to_years translate
    trim trunc try_strptime ucase unicode upper url_decode week weekday year
"""

#: Functions an expression may call: pure, scalar, without access to files, settings, state or the clock.
ALLOWED_FUNCTIONS: frozenset[str] = frozenset(_FUNCTIONS.split())

_CLASSES = "BETWEEN CASE CAST COLLATE COLUMN_REF COMPARISON CONJUNCTION CONSTANT FUNCTION OPERATOR TYPE"
_ALLOWED_CLASSES = frozenset(_CLASSES.split())

_SESSION = """
    current_date current_time current_timestamp localtime localtimestamp current_user session_user
    current_role current_schema current_catalog current_database rowid
"""

#: Names that read the clock or the session although they look like columns.
_SESSION_NAMES = frozenset(_SESSION.split())

_REFUSALS = {
    "SUBQUERY": "a subquery",
    "WINDOW": "a window function",
    "LAMBDA": "a lambda",
    "LAMBDA_REF": "a lambda",
    "PARAMETER": "a parameter",
    "STAR": "a star",
    "POSITIONAL_REFERENCE": "a positional reference",
    "DEFAULT": "default",
}


class ExpressionError(ValueError):
    """An expression is not one scalar SQL expression over the row."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression.

    Attributes:
        text: The SQL as written.
        columns: Columns of the file that it reads, in order of appearance; `_line` may be among them.
    """

    text: str
    columns: tuple[str, ...]

    @property
    def sql(self) -> str:
        """The expression, closed off: a trailing comment can't swallow what follows."""
        return f"(\n{self.text}\n)"


def parse_expression(text: str) -> Expression:
    """Check that ``text`` is one scalar expression and say which columns it reads.

    Raises:
        ExpressionError: It is empty, no SQL, more than one expression, or holds anything but scalar SQL.
    """
    if not text.strip():
        raise ExpressionError("the expression is empty")
    tree = _parse(text)
    statements = tree.get("statements", [])
    if len(statements) != 1:
        raise ExpressionError("expected one expression, not several statements")
    node = statements[0]["node"]
    if node.get("type") != "SELECT_NODE" or len(node["select_list"]) != 1 or _has_more_than_a_list(node):
        raise ExpressionError("expected one scalar expression, not a query")
    columns: dict[str, None] = {}
    _check(node["select_list"][0], columns)
    return Expression(text, tuple(columns))


def accepts_format(text: str) -> bool:
    """Say whether ``text`` is a strptime format."""
    try:
        _parser().cursor().execute("select try_strptime('', ?)", [text]).fetchall()
    except duckdb.Error:
        return False
    return True


def accepts_constant(text: str, kind: str) -> bool:
    """Say whether ``text`` is a value of the DuckDB type ``kind`` (a trusted name)."""
    found = _parser().cursor().execute(f"select try_cast(? as {kind}) is not null", [text]).fetchall()
    return bool(found[0][0])


@cache
def _parser() -> duckdb.DuckDBPyConnection:
    """An engine of its own, without data: it parses what it is given and never executes it."""
    return duckdb.connect()


def _parse(text: str) -> dict[str, Any]:
    try:
        found = _parser().cursor().execute("select json_serialize_sql(?)", [f"select (\n{text}\n)"]).fetchall()
    except duckdb.Error as error:
        raise ExpressionError(f"not an SQL expression: {error}") from error
    tree = json.loads(found[0][0])
    if tree["error"]:
        raise ExpressionError(f"not an SQL expression: {tree['error_message']}")
    return dict(tree)


def _has_more_than_a_list(node: dict[str, Any]) -> bool:
    source = node.get("from_table")
    is_bare = isinstance(source, dict) and source.get("type") == "EMPTY"
    clauses = ("where_clause", "group_expressions", "having", "qualify", "sample", "modifiers")
    return not is_bare or any(node.get(clause) for clause in clauses)


def _check(node: object, columns: dict[str, None]) -> None:
    if isinstance(node, list):
        for item in node:
            _check(item, columns)
    elif isinstance(node, dict):
        if "class" in node:
            _check_node(node, columns)
        for value in node.values():
            _check(value, columns)


def _check_node(node: dict[str, Any], columns: dict[str, None]) -> None:
    kind = str(node["class"])
    if kind not in _ALLOWED_CLASSES:
        raise ExpressionError(f"{_REFUSALS.get(kind, kind.lower())} is not allowed in a mapping")
    if kind == "FUNCTION":
        _check_function(node)
    if kind == "COLUMN_REF":
        names = node["column_names"]
        if len(names) != 1:
            raise ExpressionError(f"{'.'.join(map(str, names))} is not a column of the file: name it without a prefix")
        name = str(names[0])
        if name.lower() in _SESSION_NAMES:
            raise ExpressionError(f"{name} is not allowed in a mapping: it depends on the clock or the session")
        columns.setdefault(name)


def _check_function(node: dict[str, Any]) -> None:
    name = str(node["function_name"]).lower()
    if node.get("schema") or node.get("catalog") or name not in ALLOWED_FUNCTIONS:
        hint = did_you_mean(name, sorted(ALLOWED_FUNCTIONS))
        raise ExpressionError(f"function {name} is not allowed in a mapping{hint}")

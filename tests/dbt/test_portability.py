"""Models stay portable: every compiled statement can be said in Spark's SQL, and none uses what only DuckDB knows."""

import re
from pathlib import Path
from typing import Any

import sqlglot
from sqlglot import exp

#: What has no equal meaning on the second engine, or none at all.
BANNED = {
    r"::": "cast(... as ...) is understood everywhere",
    r"\barg_m(ax|in)\b": "ties differ between engines: rank by time and a unique key",
    r"\bqualify\b": "rank in a common table expression",
    r"\bstrptime\b|\bstrftime\b": "format strings differ between engines",
    r"\bgenerate_series\b|\brange\s*\(": "no such table function on Spark",
    r"\bnow\s*\(|\bcurrent_(date|timestamp|time)\b|\btoday\s*\(": "as_of is the only clock",
    r"(?<![\w\]\"])\[(?!\])": "list literals differ between engines",
    r"\bgroup by all\b|\border by all\b|\bselect \* (exclude|replace)\b": "DuckDB's shorthand",
    r"\binterval\b": "moments are literals computed from as_of",
}


def _without_text(sql: str) -> str:
    sql = re.sub(r"--[^\n]*", "", sql)
    return re.sub(r"'(?:[^']|'')*'", "''", sql)


def test_every_model_was_compiled(compiled: dict[str, str], project: Any) -> None:
    models = {path.stem for path in (project.directory / "models").rglob("*.sql")}
    assert models == set(compiled)


def test_every_model_can_be_said_in_spark(compiled: dict[str, str]) -> None:
    for name, sql in compiled.items():
        statements = sqlglot.transpile(
            sql,
            read="duckdb",
            write="spark",
            error_level=sqlglot.ErrorLevel.RAISE,
            unsupported_level=sqlglot.ErrorLevel.RAISE,
        )
        assert len(statements) == 1, name
        assert sqlglot.parse_one(statements[0], read="spark", error_level=sqlglot.ErrorLevel.RAISE), name


def test_no_model_uses_what_only_one_engine_knows(compiled: dict[str, str]) -> None:
    found = {
        f"{name}: {pattern} ({why})"
        for name, sql in compiled.items()
        for pattern, why in BANNED.items()
        if re.search(pattern, _without_text(sql), re.IGNORECASE)
    }
    assert found == set()


def test_the_ban_notices_what_it_bans() -> None:
    for sql in ("select a::int", "select arg_max(a, b)", "select [1, 2]", "select now()", "select 1 qualify true"):
        assert any(re.search(pattern, _without_text(sql), re.IGNORECASE) for pattern in BANNED), sql
    assert not any(re.search(pattern, "select cast('' as varchar[])", re.IGNORECASE) for pattern in BANNED)


def test_every_date_literal_follows_from_as_of(compiled: dict[str, str]) -> None:
    for name, sql in compiled.items():
        moments = {
            literal.this for literal in sqlglot.parse_one(sql, read="duckdb").find_all(exp.Literal) if literal.is_string
        }
        dated = {text for text in moments if re.fullmatch(r"\d{4}-\d\d-\d\d.*", text)}
        windows = {"2026-11-01", "2026-10-31", "2026-10-25", "2026-10-02", "2026-08-03", "2025-11-01"}
        assert dated <= {f"{day} 00:00:00" for day in windows}, name


def test_every_macro_that_differs_between_engines_has_a_spark_form(project: Any) -> None:
    folder = Path(project.directory) / "macros" / "portable"
    for path in folder.glob("*.sql"):
        text = path.read_text()
        for name in re.findall(r"adapter\.dispatch\('(\w+)'\)", text):
            assert f"macro default__{name}(" in text, path.name
            assert f"macro spark__{name}(" in text, path.name

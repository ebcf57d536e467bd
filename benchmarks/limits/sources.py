"""The limit of stage ``sources``: read all files of a feed at once, cast, create the table.

Left out: the ledger and its hashes, line numbers, quarantine with reasons, duplicates, the draft.
"""

from benchmarks.limits.scratch import open_scratch
from orchestration.settings import Settings
from segmentation.run import Run
from segmentation.sources.feeds import ColumnRule, EntityMapping, FeedMapping
from segmentation.sources.mapping import load_mappings
from segmentation.warehouse import Connection, literal, quote

_PATTERNS = ("*.csv", "*.csv.gz", "*.ndjson", "*.ndjson.gz", "*.jsonl", "*.parquet")


def run_limit(settings: Settings, _run: Run) -> None:
    """Load every feed of the landing folder into one table per entity."""
    with open_scratch(settings) as con:
        for mapping in load_mappings(settings.catalog / "sources"):
            for feed in mapping.feeds:
                for entity in feed.entities:
                    _load(con, settings, mapping.source, feed, entity)


def _load(con: Connection, settings: Settings, source: str, feed: FeedMapping, entity: EntityMapping) -> None:
    files = [
        str(path) for pattern in _PATTERNS for path in sorted((settings.landing_folder / feed.folder).glob(pattern))
    ]
    if not files:
        return
    canonical = entity.canonical
    columns = [
        f"{_value(entity.columns[column.name], column.type)} as {quote(column.name)}"
        if column.name in entity.columns
        else f"null::{column.type} as {quote(column.name)}"
        for column in canonical.columns
    ]
    required = " and ".join(f"{quote(column.name)} is not null" for column in canonical.columns if column.required)
    query = (
        f"select * from (select {', '.join(columns)}, {literal(source)} as source from {_reader(feed, files)}) "
        f"where {required}"
    )
    exists = con.execute(
        "select 1 from duckdb_tables() where database_name = 'limit' and table_name = ?", [canonical.name]
    ).fetchall()
    con.execute(f"insert into {canonical.name} {query}" if exists else f"create table {canonical.name} as {query}")


def _reader(feed: FeedMapping, files: list[str]) -> str:
    listed = f"[{', '.join(map(literal, files))}]"
    if files[0].endswith(".parquet"):
        return f"read_parquet({listed})"
    if ".csv" in files[0]:
        return (
            f"read_csv({listed}, header = true, all_varchar = true, delim = {literal(feed.delimiter)}, quote = '\"', "
            f"ignore_errors = true, encoding = {literal('latin-1' if feed.encoding != 'utf-8' else 'utf-8')})"
        )
    names = dict.fromkeys(feed.reads, "VARCHAR")
    struct = ", ".join(f"{literal(name)}: '{kind}'" for name, kind in names.items())
    return f"read_json({listed}, format = 'newline_delimited', columns = {{{struct}}}, ignore_errors = true)"


def _value(rule: ColumnRule, kind: str) -> str:
    if rule.constant is not None:
        return f"{literal(str(rule.constant))}::{kind}"
    if rule.parsed is not None:
        return f"try_cast(try({rule.parsed.sql}) as {kind})"
    column = quote(str(rule.column))
    if rule.format is None:
        return f"try_cast({column} as {kind})"
    moment = f"try_strptime({column}, {literal(rule.format)})"
    return f"timezone('UTC', {moment})::{kind}" if "%z" in rule.format else f"{moment}::{kind}"


def agreement(con: Connection) -> dict[str, int]:
    """Return rows of the limit and of the stage; the limit keeps the duplicates that the stage drops."""
    limit, stage = 0, 0
    for (table,) in con.execute("select table_name from duckdb_tables() where database_name = 'limit'").fetchall():
        limit += con.execute(f"select count(*) from {table}").fetchall()[0][0]
        stage += con.execute(f"select count(*) from house.sources.{table}").fetchall()[0][0]
    return {"limit_rows": limit, "stage_rows": stage}

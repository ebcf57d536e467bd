"""Landed files as relations: every data row with its number, every unreadable row with its reason.

Belongs here: CSV, NDJSON and Parquet as DuckDB reads them, gzip and encodings, damaged rows and files. Does not
belong here: what the columns mean (`projection.py`). Text formats are read as text into a temporary table;
Parquet is read in place.

A row's number is its ordinal among the data rows of the file, from 1: the header and blank lines are not counted,
and a quoted value that spans lines is one row. In NDJSON it is the line of the file.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from segmentation.errors import SourceError
from segmentation.sources.failures import explained
from segmentation.sources.feeds import LINE_COLUMN
from segmentation.sources.landing import LandedFile
from segmentation.sources.text import TextFile, open_text, read_header
from segmentation.warehouse import Connection, literal, quote

#: Longest row of a text file, in bytes; a longer one goes to quarantine.
MAX_ROW_BYTES = 4 * 1024 * 1024

#: The engine reads text in blocks of this many longest rows, several blocks at once.
_ROWS_PER_BLOCK = 8

_RAW = "source_file_rows"
_REJECTS = "source_file_rejects"
_SCANS = "source_file_scans"
_MALFORMED = "source_file_malformed"
_SHIFTS = "source_file_shifts"
_OBJECTS = "source_file_objects"
_TEXT_COLUMN = "_text"
_PEEKED_OBJECTS = 10_000


@dataclass(frozen=True, slots=True)
class FileRows:
    """An opened file.

    Attributes:
        relation: What stands after ``from``: the file's columns, `_line`, and for NDJSON the text itself.
        columns: The file's columns and their DuckDB types, in order.
        raw: SQL for a row as JSON.
        rows_read: Data rows, the malformed ones included.
        malformed: Relation ``(line, reason, raw)`` of rows that are no rows; ``None`` where all are.
    """

    relation: str
    columns: dict[str, str]
    raw: str
    rows_read: int
    malformed: str | None


@contextmanager
def open_rows(con: Connection, file: LandedFile, scratch: Path) -> Iterator[FileRows]:
    """Open a landed file; what it needs beside the file (temporary tables and copies) goes when the block ends.

    Args:
        con: The warehouse, not inside a transaction: a damaged file would abort it.
        file: Which file, and how it is read.
        scratch: Folder for temporary copies.

    Raises:
        SourceError: The file as a whole can't be read.
    """
    try:
        _require_content(file)
        if file.format == "parquet":
            yield _open_parquet(con, file)
            return
        with open_text(file.path, file.feed.encoding, is_compressed=file.is_compressed, scratch=scratch) as text:
            yield _open_csv(con, file, text) if file.format == "csv" else _open_ndjson(con, file, text)
    finally:
        for table in (_RAW, _REJECTS, _SCANS, _MALFORMED, _SHIFTS, _OBJECTS):
            con.execute(f"drop table if exists temp.{table}")


def _require_content(file: LandedFile) -> None:
    if file.path.stat().st_size == 0:
        raise SourceError(
            "the file is empty",
            where=str(file.path),
            expected="at least a header" if file.format == "csv" else "at least one row",
            repair="deliver the file again, or remove it",
        )


def peek_columns(con: Connection, file: LandedFile, scratch: Path) -> list[str]:
    """Return a file's columns without reading its rows; of NDJSON, those of its first rows.

    Raises:
        SourceError: The file as a whole can't be read.
    """
    _require_content(file)
    if file.format == "parquet":
        with explained(file):
            return [str(row[0]) for row in con.execute(_describe_sql(file.path)).fetchall()]
    with open_text(file.path, file.feed.encoding, is_compressed=file.is_compressed, scratch=scratch) as text:
        if file.format == "csv":
            return read_header(text.path, file.path, file.feed.delimiter)
        return text.first_keys()


def _describe_sql(path: Path) -> str:
    return f"describe select * from read_parquet({literal(str(path))})"


def _open_parquet(con: Connection, file: LandedFile) -> FileRows:
    path = literal(str(file.path))
    with explained(file):
        described = con.execute(_describe_sql(file.path)).fetchall()
        rows = con.execute(f"select sum(num_rows) from parquet_file_metadata({path})").fetchall()[0][0]
    columns = {str(row[0]): str(row[1]) for row in described}
    _require_usable_names(file, list(columns))
    relation = (
        f"(select * exclude (file_row_number), file_row_number + 1 as {LINE_COLUMN} "
        f"from read_parquet({path}, file_row_number = true))"
    )
    return FileRows(relation, columns, _as_json(columns), int(rows), None)


def _open_csv(con: Connection, file: LandedFile, text: TextFile) -> FileRows:
    header = read_header(text.path, file.path, file.feed.delimiter)
    _require_usable_names(file, header)
    struct = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in header)
    nulls = ", ".join(literal(value) for value in dict.fromkeys(("", *file.feed.null_values)))
    options = (
        f"header = true, delim = {literal(file.feed.delimiter)}, quote = '\"', escape = '\"', "
        f"nullstr = [{nulls}], columns = {{{struct}}}"
    )
    _load_text(con, file, text, options)
    _number_rejects(con, text, lines_before_data=1)
    columns = dict.fromkeys(header, "VARCHAR")
    return _numbered(con, columns, _as_json(columns))


def _open_ndjson(con: Connection, file: LandedFile, text: TextFile) -> FileRows:
    # JSON text never holds a bare control character, so this delimiter splits no valid line.
    delimiter = literal("\x01\x02\x03\x04")
    struct = f"{{{literal(_TEXT_COLUMN)}: 'VARCHAR'}}"
    options = f"header = false, delim = {delimiter}, quote = '', escape = '', columns = {struct}"
    _load_text(con, file, text, options)
    _number_rejects(con, text, lines_before_data=0)
    lines = _numbered(con, {}, "null")
    # Every look into a line parses it, so the lines are looked at once here and once where they are read.
    is_object = f"(json_valid({_TEXT_COLUMN}) and starts_with(ltrim({_TEXT_COLUMN}, ' \t\r'), '{{'))"
    others = con.execute(
        f"insert into {_MALFORMED} select {LINE_COLUMN}, 'the row is not a JSON object', "
        f"json_object('_row', {_TEXT_COLUMN}) from {lines.relation} "
        f"where {_TEXT_COLUMN} is not null and not {is_object}"
    ).fetchall()[0][0]
    condition = is_object if others else f"{_TEXT_COLUMN} is not null"
    columns = _find_keys(con, condition, file)
    # A key that no row has is null in every row; `staging.require_columns` decides whether that may be.
    keys_by_name = {name.lower(): name for name in columns}
    paths = ", ".join(
        literal(_path_of(name if name in columns else keys_by_name.get(name.lower(), name))) for name in file.feed.reads
    )
    fields = "".join(f", v[{index}] as {quote(name)}" for index, name in enumerate(file.feed.reads, start=1))
    # Written down, because a filter over extracted values would extract them again for each of its terms.
    whole = con.execute(
        f"create or replace temp table {_OBJECTS} as select {LINE_COLUMN}, {_TEXT_COLUMN}{fields} from (select *, "
        f"json_extract_string({_TEXT_COLUMN}, cast([{paths}] as varchar[])) as v from {lines.relation} "
        f"where {condition})"
    ).fetchall()[0][0]
    con.execute(f"drop table {_RAW}")
    refused = con.execute(f"select count(*) from {_MALFORMED}").fetchall()[0][0]
    return FileRows(_OBJECTS, columns, f"cast({_TEXT_COLUMN} as json)", int(whole) + int(refused), _MALFORMED)


def _find_keys(con: Connection, condition: str, file: LandedFile) -> dict[str, str]:
    """Return the keys of a file's first objects; of all of them where the first lack one that the feed reads."""
    keys: set[str] = set()
    for limit in (f"limit {_PEEKED_OBJECTS}", ""):
        found = con.execute(
            f"select distinct unnest(json_keys({_TEXT_COLUMN})) "
            f"from (select {_TEXT_COLUMN} from {_RAW} where {condition} {limit})"
        ).fetchall()
        keys = {str(row[0]) for row in found}
        if keys.issuperset(file.feed.reads):
            break
    return dict.fromkeys(sorted(keys), "VARCHAR")


def _path_of(key: str) -> str:
    return '$."' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _load_text(con: Connection, file: LandedFile, text: TextFile, options: str) -> None:
    """Read a text file into the raw table in the order of its rows, so that row ids are ordinals."""
    before = con.execute("select current_setting('preserve_insertion_order')").fetchall()[0][0]
    con.execute("set preserve_insertion_order = true")
    try:
        with explained(file):
            try:
                con.execute(_load_sql(text.path, options))
            except duckdb.InvalidInputException as error:
                if "invalid state" not in str(error):
                    raise
                # Lines that end in different ways: read a copy in which they all end alike.
                con.execute(_load_sql(text.with_plain_line_ends(), options))
    finally:
        con.execute(f"set preserve_insertion_order = {str(before).lower()}")


def _load_sql(path: Path, options: str) -> str:
    return (
        f"create or replace temp table {_RAW} as select * from read_csv({literal(str(path))}, auto_detect = false, "
        f"compression = 'none', max_line_size = {MAX_ROW_BYTES}, buffer_size = {_ROWS_PER_BLOCK * MAX_ROW_BYTES}, "
        f"strict_mode = true, store_rejects = true, "
        f"rejects_limit = 0, rejects_table = '{_REJECTS}', rejects_scan = '{_SCANS}', {options})"
    )


def _number_rejects(con: Connection, text: TextFile, *, lines_before_data: int) -> None:
    """Write the rows that the reader refused to the malformed table, numbered as data rows."""
    runs: list[tuple[int, int]] = []
    if lines_before_data and con.execute(f"select 1 from {_REJECTS} limit 1").fetchall():
        runs = text.blank_runs()
    con.execute(
        f"""
        create or replace temp table {_MALFORMED} as
        select
            -- A refused row's position may be that of the blank lines before it, so whole runs are counted.
            line - {lines_before_data} - coalesce(blank.lines, 0) as line,
            case error_type
                when 'MISSING COLUMNS' then 'the row has too few columns'
                when 'TOO MANY COLUMNS' then 'the row has too many columns'
                when 'UNQUOTED VALUE' then 'the row has a broken quote'
                when 'INVALID ENCODING' then 'the row holds bytes that are not of the file''s encoding'
                when 'LINE SIZE OVER MAXIMUM' then 'the row is longer than {MAX_ROW_BYTES} bytes'
                else concat('the row can not be read: ', error_type)
            end as reason,
            json_object('_row', csv_line) as raw
        from {_REJECTS} as refused
        asof left join (select unnest(?::bigint[]) as begins, unnest(?::bigint[]) as lines) as blank
        on refused.line_byte_position >= blank.begins
        qualify row_number() over (partition by line, line_byte_position order by column_idx, error_type) = 1
        """,
        [[begins for begins, _ in runs], [lines for _, lines in runs]],
    )


def _numbered(con: Connection, columns: dict[str, str], raw: str) -> FileRows:
    """Give every row of the raw table its number: its ordinal, shifted by the refused rows before it."""
    kept = int(con.execute(f"select count(*) from {_RAW}").fetchall()[0][0])
    refused = int(con.execute(f"select count(*) from {_MALFORMED}").fetchall()[0][0])
    if not refused:
        relation = f"(select *, rowid + 1 as {LINE_COLUMN} from {_RAW})"
    else:
        # The j-th refused row, on line r, moves every row from ordinal r - j + 1 on by at least j.
        con.execute(
            f"""
            create or replace temp table {_SHIFTS} as
            select line - j + 1 as threshold, max(j) as shift
            from (select line, row_number() over (order by line) as j from {_MALFORMED})
            group by all
            """
        )
        relation = f"""(
            select n.* exclude (ordinal), ordinal + coalesce(s.shift, 0) as {LINE_COLUMN}
            from (select *, rowid + 1 as ordinal from {_RAW}) as n
            asof left join {_SHIFTS} as s on n.ordinal >= s.threshold
        )"""
    return FileRows(relation, columns, raw, kept + refused, _MALFORMED)


def _as_json(columns: dict[str, str]) -> str:
    parts = []
    for name, kind in columns.items():
        value = f"cast({quote(name)} as varchar)" if kind == "BLOB" else quote(name)
        parts.append(f"{literal(name)}, {value}")
    return f"json_object({', '.join(parts)})"


def _require_usable_names(file: LandedFile, names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        key = name.lower()
        if key in seen or key in {LINE_COLUMN, "file_row_number"} or not name:
            what = "a column without a name" if not name else f"the column {name!r} twice or a reserved name"
            raise SourceError(
                f"the header holds {what}",
                where=str(file.path),
                expected=f"columns with different names, none of them {LINE_COLUMN} or file_row_number",
                repair="rename the column in the file, and in the mapping where it is used",
            )
        seen.add(key)

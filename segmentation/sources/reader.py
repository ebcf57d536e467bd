"""Landed files as relations: every data row with its number, every unreadable row with its reason.

Belongs here: CSV, NDJSON and Parquet as DuckDB reads them, gzip and encodings, damaged files. Does not belong here:
rows that are no rows (`rows.py`) or what the columns mean (`projection.py`). Text formats are read as text into
a temporary table; Parquet is read in place. A feed's files can be open side by side, each with a number of its own.

A row's number is its ordinal among the data rows of the file, from 1: the header and blank lines are not counted,
and a quoted value that spans lines is one row. In NDJSON it is the line of the file.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from segmentation.errors import SourceError
from segmentation.sources.failures import explained
from segmentation.sources.feeds import LINE_COLUMN, OWN_PREFIX, POSITION_COLUMN, is_reserved
from segmentation.sources.landing import LandedFile
from segmentation.sources.rows import (
    FileRows,
    FileTables,
    note_lines_that_are_no_objects,
    note_rejects,
    numbered,
)
from segmentation.sources.text import TextFile, open_text, read_header
from segmentation.warehouse import Connection, literal, quote

#: Longest row of a text file, in bytes; a longer one goes to quarantine.
MAX_ROW_BYTES = 4 * 1024 * 1024

#: The engine reads text in blocks of this many longest rows, several blocks at once.
_ROWS_PER_BLOCK = 8

_TEXT_COLUMN = f"{OWN_PREFIX}text"

#: A column of this name would hide the ordinals of the rows in their table, so there it has another.
_ROW_ID = "rowid"
_PEEKED_OBJECTS = 10_000


@contextmanager
def open_rows(con: Connection, file: LandedFile, scratch: Path, number: int = 0) -> Iterator[FileRows]:
    """Open a landed file; what it needs beside the file (temporary tables) goes when the block ends.

    Args:
        con: The warehouse, not inside a transaction: a damaged file would abort it.
        file: Which file, and how it is read.
        scratch: Folder for temporary copies.
        number: Tells files apart that are open at the same time.

    Raises:
        SourceError: The file as a whole can't be read.
    """
    tables = FileTables(number)
    try:
        _require_content(file)
        if file.format == "parquet":
            yield _open_parquet(con, file)
        else:
            yield _open_text(con, file, scratch, tables)
    finally:
        con.execute(tables.drop_sql)


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


def _path_sql(path: Path) -> str:
    """SQL for the path of this one file: the engine would take its name for a pattern where it looks like one."""
    return literal(re.sub(r"[*?\[{]", r"[\g<0>]", str(path)))


def _describe_sql(path: Path) -> str:
    return f"describe select * from read_parquet({_path_sql(path)})"


def _open_parquet(con: Connection, file: LandedFile) -> FileRows:
    path = _path_sql(file.path)
    with explained(file):
        described = con.execute(_describe_sql(file.path)).fetchall()
        rows = con.execute(f"select sum(num_rows) from parquet_file_metadata({path})").fetchall()[0][0]
    columns = {str(row[0]): str(row[1]) for row in described}
    _require_usable_names(file, list(columns))
    relation = f"(select *, {POSITION_COLUMN} + 1 as {LINE_COLUMN} from read_parquet({path}, {POSITION_COLUMN} = true))"
    return FileRows(relation, columns, _as_json(columns), int(rows), None)


def _open_text(con: Connection, file: LandedFile, scratch: Path, tables: FileTables) -> FileRows:
    """Read a text file; its plain copy, where it needed one, is gone when this returns."""
    with open_text(file.path, file.feed.encoding, is_compressed=file.is_compressed, scratch=scratch) as text:
        read = _read_csv if file.format == "csv" else _read_ndjson
        return read(con, file, text, tables)


def _read_csv(con: Connection, file: LandedFile, text: TextFile, tables: FileTables) -> FileRows:
    header = read_header(text.path, file.path, file.feed.delimiter)
    _require_usable_names(file, header)
    hiding = {name: f"{OWN_PREFIX}{name}" for name in header if name.lower() == _ROW_ID}
    struct = ", ".join(f"{literal(hiding.get(name, name))}: 'VARCHAR'" for name in header)
    nulls = ", ".join(literal(value) for value in dict.fromkeys(("", *file.feed.null_values)))
    options = (
        f"header = true, delim = {literal(file.feed.delimiter)}, quote = '\"', escape = '\"', "
        f"nullstr = [{nulls}], columns = {{{struct}}}"
    )
    kept = _load_text(con, file, text, tables, options)
    refused = note_rejects(con, text, tables, lines_before_data=1, longest_row=MAX_ROW_BYTES)
    columns = dict.fromkeys(header, "VARCHAR")
    relation = numbered(con, tables, refused)
    for name, other in hiding.items():
        relation = f"(select * rename ({other} as {quote(name)}) from {relation})"
    return FileRows(relation, columns, _as_json(columns), kept + refused, tables.malformed if refused else None)


def _read_ndjson(con: Connection, file: LandedFile, text: TextFile, tables: FileTables) -> FileRows:
    # JSON text never holds a bare control character, so this delimiter splits no valid line.
    delimiter = literal("\x01\x02\x03\x04")
    struct = f"{{{literal(_TEXT_COLUMN)}: 'VARCHAR'}}"
    options = f"header = false, delim = {delimiter}, quote = '', escape = '', columns = {struct}"
    _load_text(con, file, text, tables, options)
    refused = note_rejects(con, text, tables, lines_before_data=0, longest_row=MAX_ROW_BYTES)
    lines = numbered(con, tables, refused)
    others = note_lines_that_are_no_objects(con, tables, lines, _TEXT_COLUMN)
    objects = f"{lines} where {_TEXT_COLUMN} is not null"
    if others:
        objects += f" and {LINE_COLUMN} not in (select line from {tables.malformed})"
    columns = _find_keys(con, objects, file)
    # A key that no row has is null in every row; `staging.require_columns` decides whether that may be.
    keys_by_name = {name.lower(): name for name in columns}
    paths = ", ".join(
        literal(_path_of(name if name in columns else keys_by_name.get(name.lower(), name))) for name in file.feed.reads
    )
    values = f"json_extract_string({_TEXT_COLUMN}, cast([{paths}] as varchar[]))"
    if others:
        # The engine may look into a line before it leaves the line out.
        values = f"try({values})"
    fields = "".join(f", v[{index}] as {quote(name)}" for index, name in enumerate(file.feed.reads, start=1))
    relation = (
        f"(select {LINE_COLUMN}, {POSITION_COLUMN}, {_TEXT_COLUMN}{fields} "
        f"from (select {LINE_COLUMN}, {POSITION_COLUMN}, {_TEXT_COLUMN}, {values} as v from {objects}))"
    )
    written = int(con.execute(f"select count({_TEXT_COLUMN}) from {tables.rows}").fetchall()[0][0])
    malformed = tables.malformed if refused or others else None
    return FileRows(relation, columns, f"cast({_TEXT_COLUMN} as json)", written + refused, malformed)


def _find_keys(con: Connection, objects: str, file: LandedFile) -> dict[str, str]:
    """Return the keys of a file's first objects; of all of them where the first lack one that the feed reads."""
    keys: set[str] = set()
    for limit in (f"limit {_PEEKED_OBJECTS}", ""):
        some = f"(select try(json_keys({_TEXT_COLUMN})) as names from {objects} {limit})"
        found = con.execute(f"select distinct unnest(names) from {some}").fetchall()
        keys = {str(row[0]) for row in found}
        if keys.issuperset(file.feed.reads):
            break
    return dict.fromkeys(sorted(keys), "VARCHAR")


def _path_of(key: str) -> str:
    return '$."' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _load_text(con: Connection, file: LandedFile, text: TextFile, tables: FileTables, options: str) -> int:
    """Read a text file into its table in the order of its rows, so that row ids are ordinals; return their count."""
    before = con.execute("select current_setting('preserve_insertion_order')").fetchall()[0][0]
    if not before:
        con.execute("set preserve_insertion_order = true")
    try:
        with explained(file):
            try:
                found = con.execute(_load_sql(text.path, tables, options)).fetchall()
            except duckdb.InvalidInputException as error:
                if "invalid state" not in str(error):
                    raise
                # Lines that end in different ways: read a copy in which they all end alike.
                found = con.execute(_load_sql(text.with_plain_line_ends(), tables, options)).fetchall()
    finally:
        if not before:
            con.execute("set preserve_insertion_order = false")
    return int(found[0][0])


def _load_sql(path: Path, tables: FileTables, options: str) -> str:
    return (
        f"create or replace temp table {tables.rows} as select * from read_csv({_path_sql(path)}, "
        f"auto_detect = false, compression = 'none', max_line_size = {MAX_ROW_BYTES}, "
        f"buffer_size = {_ROWS_PER_BLOCK * MAX_ROW_BYTES}, strict_mode = true, store_rejects = true, "
        f"rejects_limit = 0, rejects_table = '{tables.rejects}', rejects_scan = '{tables.scans}', {options})"
    )


def _as_json(columns: dict[str, str]) -> str:
    parts = []
    for name, kind in columns.items():
        value = f"cast({quote(name)} as varchar)" if kind == "BLOB" else quote(name)
        parts.append(f"{literal(name)}, {value}")
    return f"json_object({', '.join(parts)})"


def _require_usable_names(file: LandedFile, names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if is_reserved(name):
            taken = f"{LINE_COLUMN}, {POSITION_COLUMN} or beginning with {OWN_PREFIX}"
            raise _bad_name(file, f"the reserved name {name!r}", f", none of them {taken}")
        if name.lower() in seen or not name:
            raise _bad_name(file, f"the column {name!r} twice" if name else "a column without a name", "")
        seen.add(name.lower())


def _bad_name(file: LandedFile, what: str, more: str) -> SourceError:
    return SourceError(
        f"the header holds {what}",
        where=str(file.path),
        expected=f"columns with different names{more}",
        repair="rename the column in the file, and in the mapping where it is used",
    )

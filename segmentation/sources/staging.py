"""One file into the drafts: whole rows into the entity's table, the others into quarantine, none lost.

Belongs here: the two passes over a file and the count that must come out. Does not belong here: which files
are staged (`candidate.py`) or rows that were loaded before (`duplicates.py`). The first pass writes the whole
rows; the second, only where rows are missing from the first, gives the rest their reasons.
"""

from dataclasses import dataclass

import duckdb

from segmentation.errors import SourceError, StrataError, nearest_name
from segmentation.run import Run
from segmentation.sources.failures import damaged, require_space
from segmentation.sources.feeds import LINE_COLUMN, EntityMapping, FeedMapping
from segmentation.sources.landing import LandedFile
from segmentation.sources.projection import Projection, project, raw_select
from segmentation.sources.reader import FileRows
from segmentation.sources.tables import DRAFT_QUARANTINE, draft_of
from segmentation.warehouse import Connection, literal, quote

_GOOD = "source_good_rows"


@dataclass(frozen=True, slots=True)
class Staged:
    """What became of the rows of one file for one entity; read = written + folded + quarantined."""

    read: int
    written: int
    folded: int
    quarantined: int


def require_columns(file: LandedFile, rows: FileRows) -> tuple[str, ...]:
    """Check that the file has the columns that its feed reads.

    NDJSON leaves out what is null, so there a key may be absent from a whole file as long as no required column is
    made of it. Returns the absent keys that are read as null.

    Raises:
        SourceError: Naming the missing columns, what was probably meant, and the columns there are.
    """
    absent = missing_columns(file.feed, rows)
    missing = absent
    if file.format == "ndjson":
        needed = {name for mapping in file.feed.entities for name in mapping.needs} if rows.columns else set()
        missing = [name for name in absent if name in needed]
    if not missing:
        return tuple(absent)
    names = list(rows.columns)
    near = {name: nearest_name(name, names) for name in missing}
    hints = [f"{name!r} (did you mean {found!r}?)" if found else repr(name) for name, found in near.items()]
    raise SourceError(
        f"the file lacks {'the column' if len(missing) == 1 else 'the columns'} {', '.join(hints)}",
        where=str(file.path),
        expected=f"the mapped columns; the file has {', '.join(names)}",
        repair="correct the column's name in the feed's mapping, or deliver the file with the column",
    )


def missing_columns(feed: FeedMapping, rows: FileRows) -> list[str]:
    """Return the columns that the feed reads and the file lacks; case does not count."""
    present = {name.lower() for name in rows.columns}
    return [name for name in feed.reads if name.lower() not in present]


def stage_rows(
    con: Connection, run: Run, *, file: LandedFile, rows: FileRows, mapping: EntityMapping, file_id: int
) -> Staged:
    """Write the rows of an opened file to the entity's draft and to the draft of the quarantine.

    Raises:
        SourceError: The file's content can't be read to its end, or its types don't fit the expressions.
        StrataError: Rows were lost; a defect, never the file's fault.
    """
    values = [file.source, file_id, run.run_id, run.recorded_at]
    try:
        levels = _Levels.of(con, file, rows, mapping)
        written, folded = _write_whole_rows(con, levels, mapping, values)
        quarantined = 0
        if written + folded < rows.rows_read:
            quarantined = _write_refused_rows(con, levels, file, rows, mapping, [file_id, run.run_id, run.recorded_at])
    except duckdb.BinderException as error:
        raise SourceError(
            f"the mapping of {mapping.entity} does not fit the file's columns: {str(error).strip().splitlines()[0]}",
            where=str(file.path),
            expected=f"expressions over {', '.join(f'{name} {kind}' for name, kind in rows.columns.items())}",
            repair="correct the expression in the feed's mapping",
        ) from error
    except duckdb.Error as error:
        require_space(error)
        if not isinstance(error, duckdb.InvalidInputException | duckdb.IOException | duckdb.ConversionException):
            raise
        raise damaged(file, error) from error
    if written + folded + quarantined != rows.rows_read:
        raise StrataError(
            f"{rows.rows_read} rows were read, but {written + folded + quarantined} came out",
            where=f"{file.path}, entity {mapping.entity}",
            expected="read = written + folded + quarantined",
            repair="report this file: it shows a defect; nothing was published",
        )
    return Staged(rows.rows_read, written, folded, quarantined)


@dataclass(frozen=True, slots=True)
class _Levels:
    """The nested selects over a file: raw values, then typed values."""

    first: str
    first_with_raw: str
    projection: Projection

    @classmethod
    def of(cls, con: Connection, file: LandedFile, rows: FileRows, mapping: EntityMapping) -> "_Levels":
        types = {name.lower(): kind for name, kind in rows.columns.items()}
        nulls = () if file.format == "csv" else file.feed.null_values
        items = ", ".join((LINE_COLUMN, *raw_select(mapping, nulls, types)))
        first = f"select {items} from {rows.relation}"
        values = [
            f"r{index}{'.v' if rule.parsed else ''} as r{index}" for index, rule in enumerate(mapping.columns.values())
        ]
        described = con.execute(f"describe select {', '.join(values)} from ({first})").fetchall()
        kinds = {str(row[0]): str(row[1]).strip('"') for row in described}
        with_raw = f"select {items}, {rows.raw} as _raw from {rows.relation}"
        return cls(first, with_raw, project(mapping, kinds))


def _write_whole_rows(
    con: Connection, levels: _Levels, mapping: EntityMapping, values: list[object]
) -> tuple[int, int]:
    entity = mapping.canonical
    given = ", ".join(map(quote, mapping.columns))
    names = f"{given}, source, file_id, line, run_id, recorded_at"
    typed = ", ".join(levels.projection.typed)
    good = (
        f"select {given}, ? as source, ? as file_id, {LINE_COLUMN} as line, ? as run_id, ? as recorded_at "
        f"from (select *, {typed} from ({levels.first})) where {levels.projection.accepted}"
    )
    target = f"insert into {draft_of(entity)} ({names})"
    if not mapping.one_row_per:
        return _changed(con, f"{target} {good}", values), 0
    con.execute(f"create or replace temp table {_GOOD} as {good}", values)
    keys = ", ".join(map(quote, mapping.one_row_per))
    written = _changed(
        con,
        f"{target} select {names} from {_GOOD} qualify row_number() over (partition by {keys} order by line) = 1",
    )
    whole = int(con.execute(f"select count(*) from {_GOOD}").fetchall()[0][0])
    con.execute(f"drop table {_GOOD}")
    return written, whole - written


def _write_refused_rows(
    con: Connection,
    levels: _Levels,
    file: LandedFile,
    rows: FileRows,
    mapping: EntityMapping,
    values: list[object],
) -> int:
    """Write malformed rows and rows that are not whole, with all their reasons, to the quarantine's draft."""
    about = f"{literal(mapping.entity)}, {literal(file.source)}, {literal(file.relative)}"
    typed = ", ".join(levels.projection.typed)
    # `is not true` and not `not`: a condition that comes out null must not drop the row from both passes.
    refused = _changed(
        con,
        f"insert into {DRAFT_QUARANTINE} "
        f"select ?, {about}, {LINE_COLUMN}, {levels.projection.reason}, _raw, ?, ? "
        f"from (select *, {typed} from ({levels.first_with_raw})) where ({levels.projection.accepted}) is not true",
        values,
    )
    if rows.malformed:
        refused += _changed(
            con,
            f"insert into {DRAFT_QUARANTINE} select ?, {about}, line, reason, raw, ?, ? from {rows.malformed}",
            values,
        )
    return refused


def _changed(con: Connection, sql: str, values: list[object] | None = None) -> int:
    return int(con.execute(sql, values).fetchall()[0][0])


def unstage_file(con: Connection, file: LandedFile, file_id: int) -> None:
    """Take every row of a file out of the drafts again."""
    for mapping in file.feed.entities:
        con.execute(f"delete from {draft_of(mapping.canonical)} where file_id = ?", [file_id])
    con.execute(f"delete from {DRAFT_QUARANTINE} where file_id = ?", [file_id])

"""A feed's open files into the drafts: whole rows into the entity's table, the others into quarantine, none lost.

Belongs here: the two passes over the files and the count that must come out. Does not belong here: which files
are staged, and how many together (`batches.py`), or rows that were loaded before (`duplicates.py`). The first pass
writes the whole rows of all files at once; the second, only for files of which rows are missing from the first, gives
these rows their reasons.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb

from segmentation.errors import SourceError, StrataError, nearest_name
from segmentation.run import Run
from segmentation.sources.failures import damaged, require_space
from segmentation.sources.feeds import FILE_COLUMN, LINE_COLUMN, OWN_PREFIX, POSITION_COLUMN, EntityMapping, FeedMapping
from segmentation.sources.landing import LandedFile
from segmentation.sources.projection import Projection, project, raw_select
from segmentation.sources.rows import FileRows
from segmentation.sources.tables import DRAFT_QUARANTINE, draft_of
from segmentation.warehouse import Connection, literal, quote

_PATH = f"{OWN_PREFIX}path"
_RAW = f"{OWN_PREFIX}raw"
_GOOD = "source_good_rows"
_MISSING = "source_missing_rows"


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A landed file, its number in the ledger, and its rows."""

    file: LandedFile
    file_id: int
    rows: FileRows


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


def types_of(opened: OpenFile) -> tuple[str, ...]:
    """Return the types of the columns that the feed reads: only files in which they agree are staged together."""
    types = {name.lower(): kind for name, kind in opened.rows.columns.items()}
    return tuple(types.get(name.lower(), "VARCHAR") for name in opened.file.feed.reads)


def stage_rows(
    con: Connection, run: Run, files: Sequence[OpenFile], mapping: EntityMapping, *, for_trial: bool = False
) -> dict[int, Staged]:
    """Write the rows of opened files to the entity's draft and to the draft of the quarantine.

    Where the mapping asks consent, refused rows keep no value: nobody can say for sure whose they are.

    Args:
        con: The warehouse, not inside a transaction.
        run: The run.
        files: Files of one source and feed, whose columns have the same types (`types_of`); at least one.
        mapping: One of the feed's entities.
        for_trial: Nothing that is written outlives this process, so refused rows may be shown as they came.

    Returns:
        What became of the rows of each file, by its number in the ledger.

    Raises:
        SourceError: The content of a file can't be read to its end, or its types don't fit the expressions. Where
            several files were given it may be any of them, and some rows may have been written.
        StrataError: Rows were lost; a defect, never the file's fault.
    """
    first = files[0]
    try:
        staged = _stage(con, run, files, mapping, keeps_values=for_trial or not mapping.asked)
    except duckdb.BinderException as error:
        columns = ", ".join(f"{name} {kind}" for name, kind in first.rows.columns.items())
        raise SourceError(
            f"the mapping of {mapping.entity} does not fit the file's columns: {str(error).strip().splitlines()[0]}",
            where=str(first.file.path),
            expected=f"expressions over {columns}",
            repair="correct the expression in the feed's mapping",
        ) from error
    except duckdb.Error as error:
        require_space(error)
        if not isinstance(error, duckdb.InvalidInputException | duckdb.IOException | duckdb.ConversionException):
            raise
        raise damaged(first.file, error) from error
    for opened in files:
        _require_all(opened, mapping, staged[opened.file_id])
    return staged


@contextmanager
def _computed_once(con: Connection) -> Iterator[None]:
    """Keep conditions where they are written: pushed down, they compute every typed value a second time."""
    before = str(con.execute("select current_setting('disabled_optimizers')").fetchall()[0][0])
    con.execute("set disabled_optimizers = 'filter_pushdown'")
    try:
        yield
    finally:
        con.execute(f"set disabled_optimizers = {literal(before)}")


def _stage(
    con: Connection, run: Run, files: Sequence[OpenFile], mapping: EntityMapping, *, keeps_values: bool
) -> dict[int, Staged]:
    projection = _projection(con, files[0], mapping)
    with _computed_once(con):
        good = _write_whole_rows(con, run, files, mapping, projection)
    lacking = [opened for opened in files if good.get(opened.file_id, (0, 0))[0] < opened.rows.rows_read]
    refused = {}
    if lacking:
        refused = _write_refused_rows(con, run, lacking, mapping, projection, keeps_values=keeps_values)
    if mapping.one_row_per:
        con.execute(f"drop table {_GOOD}")
    staged = {}
    for opened in files:
        whole, written = good.get(opened.file_id, (0, 0))
        bad = refused.get(opened.file_id, 0)
        staged[opened.file_id] = Staged(opened.rows.rows_read, written, whole - written, bad)
    return staged


def _require_all(opened: OpenFile, mapping: EntityMapping, staged: Staged) -> None:
    came_out = staged.written + staged.folded + staged.quarantined
    if came_out != staged.read:
        raise StrataError(
            f"{staged.read} rows were read, but {came_out} came out",
            where=f"{opened.file.path}, entity {mapping.entity}",
            expected="read = written + folded + quarantined",
            repair="report this file: it shows a defect; nothing was published",
        )


def _level_one(opened: OpenFile, mapping: EntityMapping, relation: str, *also: str) -> str:
    """Return the select of what each canonical column is made of, with the row's number and ``also``."""
    types = {name.lower(): kind for name, kind in opened.rows.columns.items()}
    nulls = () if opened.file.format == "csv" else opened.file.feed.null_values
    items = ", ".join((LINE_COLUMN, *also, *raw_select(mapping, nulls, types)))
    return f"select {items} from {relation}"


def _projection(con: Connection, opened: OpenFile, mapping: EntityMapping) -> Projection:
    values = [
        f"r{index}{'.v' if rule.parsed else ''} as r{index}" for index, rule in enumerate(mapping.columns.values())
    ]
    level_one = _level_one(opened, mapping, opened.rows.relation)
    described = con.execute(f"describe select {', '.join(values)} from ({level_one})").fetchall()
    return project(mapping, {str(row[0]): str(row[1]).strip('"') for row in described})


def _write_whole_rows(
    con: Connection, run: Run, files: Sequence[OpenFile], mapping: EntityMapping, projection: Projection
) -> dict[int, tuple[int, int]]:
    """Write the whole rows of all files; return how many of each file there are, and how many were written."""
    draft = draft_of(mapping.canonical)
    read = ", ".join((LINE_COLUMN, *map(quote, mapping.reads)))
    together = " union all ".join(
        f"select {opened.file_id} as {FILE_COLUMN}, {read} from {opened.rows.relation}" for opened in files
    )
    level_one = _level_one(files[0], mapping, f"({together})", FILE_COLUMN)
    given = ", ".join(map(quote, mapping.columns))
    names = f"{given}, source, file_id, line, run_id, recorded_at"
    good = (
        f"select {given}, ? as source, {FILE_COLUMN} as file_id, {LINE_COLUMN} as line, ? as run_id, "
        f"? as recorded_at from (select *, {', '.join(projection.typed)} from ({level_one})) "
        f"where {projection.accepted}"
    )
    values = [files[0].file.source, run.run_id, run.recorded_at]
    if not mapping.one_row_per:
        con.execute(f"insert into {draft} ({names}) {good}", values)
        return {file_id: (count, count) for file_id, count in _count_by_file(con, draft, files).items()}
    con.execute(f"create or replace temp table {_GOOD} as {good}", values)
    keys = ", ".join(("file_id", *map(quote, mapping.one_row_per)))
    con.execute(
        f"insert into {draft} ({names}) select {names} from {_GOOD} "
        f"qualify row_number() over (partition by {keys} order by line) = 1"
    )
    written = _count_by_file(con, draft, files)
    return {file_id: (count, written[file_id]) for file_id, count in _count_by_file(con, _GOOD, files).items()}


def _count_by_file(con: Connection, table: str, files: Sequence[OpenFile]) -> dict[int, int]:
    numbers = ", ".join(str(opened.file_id) for opened in files)
    found = con.execute(
        f"select file_id, count(*) from {table} where file_id in ({numbers}) group by file_id"
    ).fetchall()
    return {int(file_id): int(count) for file_id, count in found}


def _write_refused_rows(
    con: Connection,
    run: Run,
    files: Sequence[OpenFile],
    mapping: EntityMapping,
    projection: Projection,
    *,
    keeps_values: bool,
) -> dict[int, int]:
    """Write malformed rows and rows that are not whole, with all their reasons, to the quarantine's draft.

    Returns how many rows of each file were written.
    """
    good = _GOOD if mapping.one_row_per else draft_of(mapping.canonical)
    # The few rows that did not come out are found by their place, and they alone are computed again.
    places = " union all ".join(
        f"select {opened.file_id} as {FILE_COLUMN}, {POSITION_COLUMN} from {opened.rows.relation} as r "
        f"anti join (select line from {good} where file_id = {opened.file_id}) as g on r.{LINE_COLUMN} = g.line"
        for opened in files
    )
    con.execute(f"create or replace temp table {_MISSING} as {places}")
    read = ", ".join((LINE_COLUMN, *map(quote, mapping.reads)))
    missing = " union all ".join(
        f"select {_file_facts(opened)}, {read}, {opened.rows.raw} as {_RAW} from {opened.rows.relation} "
        f"where {POSITION_COLUMN} in (select {POSITION_COLUMN} from {_MISSING} where {FILE_COLUMN} = {opened.file_id})"
        for opened in files
    )
    level_one = _level_one(files[0], mapping, f"({missing})", FILE_COLUMN, _PATH, _RAW)
    # `is not true` and not `not`: a condition that comes out null must not drop the row from both passes.
    refused = (
        f"select {FILE_COLUMN}, {_PATH}, {LINE_COLUMN} as line, {projection.reason_code} as reason_code, "
        f"{projection.reason} as reason, {_RAW} as raw "
        f"from (select *, {', '.join(projection.typed)} from ({level_one})) where ({projection.accepted}) is not true"
    )
    malformed = [
        f"select {_file_facts(opened)}, line, reason_code, reason, raw from {opened.rows.malformed}"
        for opened in files
        if opened.rows.malformed
    ]
    everything = " union all ".join([refused, *malformed])
    words = "reason, raw" if keeps_values else "reason_code, '{}'"
    con.execute(
        f"insert into {DRAFT_QUARANTINE} "
        f"select {FILE_COLUMN}, ?, ?, {_PATH}, line, reason_code, {words}, ?, ? from ({everything})",
        [mapping.entity, files[0].file.source, run.run_id, run.recorded_at],
    )
    con.execute(f"drop table {_MISSING}")
    return _count_by_file(con, f"(from {DRAFT_QUARANTINE} where entity = {literal(mapping.entity)})", files)


def _file_facts(opened: OpenFile) -> str:
    return f"{opened.file_id} as {FILE_COLUMN}, {literal(opened.file.relative)} as {_PATH}"


def unstage_file(con: Connection, file: LandedFile, file_id: int) -> None:
    """Take every row of a file out of the drafts again."""
    for mapping in file.feed.entities:
        con.execute(f"delete from {draft_of(mapping.canonical)} where file_id = ?", [file_id])
    con.execute(f"delete from {DRAFT_QUARANTINE} where file_id = ?", [file_id])

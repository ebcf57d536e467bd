"""The rows of an opened file: the tables they lie in, their numbers, and the rows that are none.

Belongs here: what an open file looks like to those who read it, and the counting of rows that the engine refused.
Does not belong here: reading the file (`reader.py`) or rows whose values are wrong (`staging.py`).
"""

from dataclasses import dataclass

from segmentation.sources.feeds import LINE_COLUMN, POSITION_COLUMN
from segmentation.sources.reasons import MALFORMED, NO_OBJECT, UNREADABLE
from segmentation.sources.text import TextFile
from segmentation.warehouse import Connection, literal


@dataclass(frozen=True, slots=True)
class FileTables:
    """Names of the temporary tables of one open file; ``number`` tells files apart that are open at once."""

    number: int

    @property
    def rows(self) -> str:
        """The rows as text, in order: row ids are ordinals from 0."""
        return f"source_file_{self.number}_rows"

    @property
    def rejects(self) -> str:
        """What the engine refused, as it says it."""
        return f"source_file_{self.number}_rejects"

    @property
    def scans(self) -> str:
        """What the engine notes about its reading."""
        return f"source_file_{self.number}_scans"

    @property
    def malformed(self) -> str:
        """Rows that are no rows: ``(line, reason_code, reason, raw)``."""
        return f"source_file_{self.number}_malformed"

    @property
    def shifts(self) -> str:
        """How far refused rows move the numbers of those after them."""
        return f"source_file_{self.number}_shifts"

    @property
    def drop_sql(self) -> str:
        """SQL that drops them all."""
        names = (self.rows, self.rejects, self.scans, self.malformed, self.shifts)
        return "; ".join(f"drop table if exists temp.{name}" for name in names)


@dataclass(frozen=True, slots=True)
class FileRows:
    """An opened file.

    Attributes:
        relation: What stands after ``from``: the file's columns, `_line`, `file_row_number` (the row's place in what
            the engine read, by which it finds single rows fast), and for NDJSON the text itself.
        columns: The file's columns and their DuckDB types, in order.
        raw: SQL for a row as JSON.
        rows_read: Data rows, the malformed ones included.
        malformed: Relation ``(line, reason_code, reason, raw)`` of rows that are no rows; ``None`` where all are.
    """

    relation: str
    columns: dict[str, str]
    raw: str
    rows_read: int
    malformed: str | None


def note_rejects(
    con: Connection, text: TextFile, tables: FileTables, *, lines_before_data: int, longest_row: int
) -> int:
    """Write the rows that the engine refused to the malformed table, numbered as data rows; return their count."""
    if not con.execute(f"select 1 from {tables.rejects} limit 1").fetchall():
        return 0
    runs = text.blank_runs() if lines_before_data else []
    named = ", ".join(
        f"({literal(said)}, {literal(code)}, {literal(words.format(longest_row=longest_row))})"
        for said, (code, words) in MALFORMED.items()
    )
    found = con.execute(
        f"""
        create or replace temp table {tables.malformed} as
        select
            -- A refused row's position may be that of the blank lines before it, so whole runs are counted.
            line - {lines_before_data} - coalesce(blank.lines, 0) as line,
            coalesce(named.code, '{UNREADABLE}') as reason_code,
            coalesce(named.words, concat('the row can not be read: ', error_type)) as reason,
            json_object('_row', csv_line) as raw
        from {tables.rejects} as refused
        asof left join (select unnest(?::bigint[]) as begins, unnest(?::bigint[]) as lines) as blank
        on refused.line_byte_position >= blank.begins
        left join (values {named}) as named (said, code, words) on named.said = cast(refused.error_type as varchar)
        qualify row_number() over (partition by line, line_byte_position order by column_idx, error_type) = 1
        """,
        [[begins for begins, _ in runs], [lines for _, lines in runs]],
    ).fetchall()
    return int(found[0][0])


def numbered(con: Connection, tables: FileTables, refused: int) -> str:
    """Return the relation of the file's table with every row's number: its ordinal, shifted by refused rows before."""
    if not refused:
        return f"(select *, rowid as {POSITION_COLUMN}, rowid + 1 as {LINE_COLUMN} from {tables.rows})"
    # The j-th refused row, on line r, moves every row from ordinal r - j + 1 on by at least j.
    con.execute(
        f"""
        create or replace temp table {tables.shifts} as
        select line - j + 1 as threshold, max(j) as shift
        from (select line, row_number() over (order by line) as j from {tables.malformed})
        group by all
        """
    )
    return f"""(
        select n.*, n.{POSITION_COLUMN} + 1 + coalesce(s.shift, 0) as {LINE_COLUMN}
        from (select *, rowid as {POSITION_COLUMN} from {tables.rows}) as n
        asof left join {tables.shifts} as s on n.{POSITION_COLUMN} + 1 >= s.threshold
    )"""


def note_lines_that_are_no_objects(con: Connection, tables: FileTables, lines: str, text_column: str) -> int:
    """Write the lines of a file that are no JSON objects to the malformed table; return their count.

    Args:
        con: Where the file is open.
        tables: The file's tables; the malformed one may not exist yet.
        lines: Relation of numbered lines.
        text_column: The column of it that holds the line; null in a blank one.
    """
    con.execute(
        f"create temp table if not exists {tables.malformed} "
        "(line bigint, reason_code varchar, reason varchar, raw json)"
    )
    is_object = f"starts_with(ltrim({text_column}, ' \t\r'), '{{') and json_valid({text_column})"
    found = con.execute(
        f"insert into {tables.malformed} select {LINE_COLUMN}, '{NO_OBJECT}', 'the row is not a JSON object', "
        f"json_object('_row', {text_column}) from {lines} where {text_column} is not null and not ({is_object})"
    ).fetchall()
    return int(found[0][0])

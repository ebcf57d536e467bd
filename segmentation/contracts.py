"""Tables between the stages: creating them, and stamping the candidates that gates judge.

Each stage writes its tables' shape once, in ``segmentation/<stage>/schema.sql``; the tables every stage
shares are in ``segmentation/ops.sql``. Within a stage's schema, tables named ``candidate`` or
``candidate_…`` are what a run proposes: only that stage's gate and publish step read them.
"""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files

import duckdb

from segmentation.errors import CandidateError
from segmentation.run import Run
from segmentation.warehouse import Connection, quote

_TABLE_LINE = re.compile(r"create table if not exists \w+\.(?P<table>\w+) \(")
_NOTED_COLUMN = re.compile(r"\s+(?P<column>\w+) .*? -- (?P<note>.+)$")


def ensure_schema(con: Connection, stage: str) -> None:
    """Create the stage's schema and tables, and the shared ``ops`` tables, where they are missing.

    Columns that a newer version added are added to tables of an older one, empty.
    """
    rows = con.execute(_PARTS, {"stage": stage}).fetchall()
    present = {(schema, name, column) for schema, name, column, _ in rows}
    missing = [part for part in _parts(stage) if part[:3] not in present]
    if not missing:
        # Most calls: making sure of what is there costs more than looking.
        return
    con.execute(_script(stage))
    relations = {(schema, name) for schema, name, _ in present}
    for schema, table, column, kind in missing:
        if kind is not None and (schema, table) in relations:
            con.execute(f"alter table {schema}.{table} add column {quote(column)} {kind}")


def _script(stage: str) -> str:
    shared = files("segmentation").joinpath("ops.sql").read_text(encoding="utf-8")
    own = files(f"segmentation.{stage}").joinpath("schema.sql")
    tables = own.read_text(encoding="utf-8") if own.is_file() else ""
    return f"{shared};\ncreate schema if not exists {stage};\n{tables}"


#: Schema, table, name and type of every column of a stage and ``ops``; schemas and sequences, which have no type.
_PARTS = (
    "select schema_name, name, column_name, data_type from ("
    "select database_name, schema_name, table_name as name, column_name, data_type from duckdb_columns() union all "
    "select database_name, schema_name, sequence_name, '', null from duckdb_sequences() union all "
    "select database_name, schema_name, '', '', null from duckdb_schemas()) "
    "where database_name = current_database() and schema_name in ($stage, 'ops') order by all"
)


@cache
def _parts(stage: str) -> tuple[tuple[str, str, str, str | None], ...]:
    """Return what the scripts name, as the engine reads it (see ``_PARTS``)."""
    with duckdb.connect() as con:
        con.execute(_script(stage))
        rows = con.execute(_PARTS, {"stage": stage}).fetchall()
    return tuple(rows)


@cache
def column_notes(stage: str) -> Mapping[tuple[str, str], str]:
    """Return what the stage's ``schema.sql`` says of its columns, by table and column: the comment on the line.

    Columns whose name says it all have none.
    """
    notes: dict[tuple[str, str], str] = {}
    table = ""
    for line in _script(stage).splitlines():
        if begun := _TABLE_LINE.match(line):
            table = begun["table"]
        elif noted := _NOTED_COLUMN.match(line):
            notes[table, noted["column"]] = noted["note"].strip()
    return notes


@dataclass(frozen=True, slots=True)
class Candidate:
    """One proposal of a stage: made by a run, judged by a gate, then published or held."""

    stage: str
    candidate_id: str
    run_id: str
    as_of: datetime
    created_at: datetime
    published_at: datetime | None


def stamp_candidate(con: Connection, stage: str, run: Run) -> str:
    """Record that the stage's candidate tables now hold this run's proposal; return its new id.

    Call it in the transaction that writes the candidate tables.

    Raises:
        CandidateError: A later moment has been published already.
    """
    require_order(con, stage, run)
    candidate_id = f"{stage}-{uuid.uuid4().hex[:12]}"
    con.execute(
        "insert into ops.candidates (candidate_seq, stage, candidate_id, run_id, as_of, created_at) "
        "values (nextval('ops.candidate_seq'), ?, ?, ?, ?, ?)",
        [stage, candidate_id, run.run_id, run.as_of, run.recorded_at],
    )
    return candidate_id


def require_order(con: Connection, stage: str, run: Run) -> None:
    """Refuse a run whose moment lies before what the stage has published.

    It would undo what became known since, withdrawn consent included, and log as new what is old.

    Raises:
        CandidateError: A later moment has been published already.
    """
    served = latest_candidate(con, stage, published=True)
    if served is not None and run.as_of < served.as_of:
        raise CandidateError(
            f"stage {stage} as of {served.as_of} has been published already; this run is as of {run.as_of}",
            where=f"ops.candidates, {served.candidate_id}",
            expected="runs in the order of their moments",
            repair=f"strata run --as-of {served.as_of:%Y-%m-%dT%H:%M:%S} or later; "
            "for a past moment, run with a data folder of its own (STRATA_DATA)",
        )


def latest_candidate(con: Connection, stage: str, *, published: bool = False) -> Candidate | None:
    """Return the stage's newest candidate, or its newest published one; ``None`` where there is none."""
    rows = con.execute(
        "select stage, candidate_id, run_id, as_of, created_at, published_at from ops.candidates "
        "where stage = ? and (published_at is not null or not ?) order by candidate_seq desc limit 1",
        [stage, published],
    ).fetchall()
    return Candidate(*rows[0]) if rows else None


def void_candidate(con: Connection, stage: str) -> None:
    """Close a stage's gate until its next run: its tables no longer hold what the gate judged and let through.

    What was published stays on record, with its moment: what was decided from it was decided, and runs stay in order.
    A run that proposed before can't publish any more. Call it in the transaction that changes the tables.
    """
    newest = latest_candidate(con, stage)
    if newest is None:
        return
    con.execute(
        "insert into ops.candidates (candidate_seq, stage, candidate_id, run_id, as_of, created_at) "
        "values (nextval('ops.candidate_seq'), ?, ?, ?, ?, ?)",
        [stage, f"{stage}-restored-{uuid.uuid4().hex[:12]}", "restore", newest.as_of, newest.created_at],
    )


def mark_published(con: Connection, stage: str, run: Run) -> str:
    """Record that the stage's newest candidate is now what others read; return its id.

    Call it in the transaction that publishes, before anything else in it.

    Raises:
        CandidateError: The newest candidate is another run's, so publishing would publish what no gate
            of this run judged.
    """
    newest = latest_candidate(con, stage)
    if newest is None or newest.run_id != run.run_id:
        raise CandidateError(
            f"the candidate of stage {stage} is not this run's: another run replaced it",
            where=f"ops.candidates, newest {newest.candidate_id if newest else 'none'}",
            expected=f"a candidate of run {run.run_id}",
            repair=f"strata run --from {stage}",
        )
    con.execute(
        "update ops.candidates set published_at = ? where candidate_id = ?",
        [run.recorded_at, newest.candidate_id],
    )
    return newest.candidate_id

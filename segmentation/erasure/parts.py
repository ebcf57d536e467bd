"""Rows that hang on another row and name nobody themselves: they go with it, whenever and in whatever file they come.

Belongs here: which entities are parts of which, and recognising the parts of what was dropped. Does not belong here:
recognising people (`reentry.py`) or erasing what is there (`source_rows.py`). Of every row that had parts and was the
erased person's a keyed hash of its key is kept, beside those of identifiers, under its entity's name: its parts are
known by it when they come later, and so is the row itself when it comes again without a name. Where somebody else has
a row of the same key, parts and row are theirs.
"""

from collections.abc import Sequence
from datetime import datetime

from segmentation.erasure.subject import suppressed_hash
from segmentation.pseudonyms import PseudonymKey
from segmentation.run import Run
from segmentation.sources.entities import ENTITIES, IDENTITY_COLUMNS, PARTS
from segmentation.sources.tables import candidate_of, published_of
from segmentation.warehouse import Connection, count, literal


def suppress_wholes(con: Connection, key: PseudonymKey, wholes: str, reason: str, at: datetime) -> None:
    """Keep what recognises the rows of ``wholes(entity, source, part_of, erasure_id)``, once each."""
    hashed = suppressed_hash(key, "w.entity", "w.source", "w.part_of")
    con.execute(
        "insert into identity.suppressions (value_hmac, id_type, key_id, reason, erasure_id, suppressed_at) "
        "select value_hmac, entity, ?, ?, erasure_id, ? from ("
        f"select {hashed} as value_hmac, w.entity, min(w.erasure_id) as erasure_id from {wholes} as w group by all) "
        "anti join identity.suppressions as known using (value_hmac)",
        [key.key_id, reason, at],
    )


def nameless_wholes(keys: Sequence[PseudonymKey], whole: str) -> str:
    """Return SQL for the rows of an entity's candidate that name nobody and have the key of a dropped row.

    The relation is ``(row_number, file_id, erasure_id)``; it is empty for an entity without parts.
    """
    columns = [column for name, column in PARTS.values() if name == whole]
    if not columns:
        return "select null::bigint as row_number, null::bigint as file_id, null::varchar as erasure_id limit 0"
    column = columns[0]
    return " union ".join(
        f"select r.rowid as row_number, r.file_id, s.erasure_id from {candidate_of(ENTITIES[whole])} as r "
        f"join ({_known(whole, key)}) as s "
        f"on s.value_hmac = {suppressed_hash(key, literal(whole), 'r.source', f'r.{column}')} "
        f"anti join ({_somebodys(whole, column)}) as theirs "
        f"on theirs.source = r.source and theirs.part_of = r.{column} where {names_nobody('r')}"
        for key in keys
    )


def names_nobody(row: str) -> str:
    """Return SQL: a row holds no identifier."""
    return " and ".join(f"{row}.{name} is null" for name in IDENTITY_COLUMNS)


def drop_parts(con: Connection, run: Run, keys: Sequence[PseudonymKey], wholes: str) -> int:
    """Delete the parts of dropped rows from the candidate, and those that were published before; return how many.

    Args:
        con: The warehouse, in the transaction that screens the candidate; dropped rows are out of it.
        run: Who writes down what was dropped, in ``ops.suppressed_rows``.
        keys: Keys that suppressions were made with.
        wholes: Relation ``(entity, source, part_of)`` of rows dropped just now; they are suppressed already.
    """
    gone = 0
    for part, (whole, column) in PARTS.items():
        proposed, published = candidate_of(ENTITIES[part]), published_of(ENTITIES[part])
        suppressed = f"select 1 from identity.suppressions where id_type = {literal(whole)} limit 1"
        if count(con, proposed) and con.execute(suppressed).fetchall():
            sent = f"(select distinct source, {column} as part_of from {proposed})"
            known = " union ".join(_recognised(key, whole, sent) for key in keys)
            gone += _drop(con, run, proposed, part, known)
        # What came before its whole did is there already.
        now = f"select distinct source, part_of from {wholes} where entity = {literal(whole)}"
        if con.execute(f"{now} limit 1").fetchall():
            gone += _drop(con, run, published, part, now)
    return gone


def _drop(con: Connection, run: Run, table: str, part: str, known: str) -> int:
    whole, column = PARTS[part]
    con.execute(
        f"create or replace temp table dropped_parts as select r.rowid as row_number, r.file_id from {table} as r "
        f"join ({known}) as k on k.source = r.source and k.part_of = r.{column} "
        f"anti join ({_somebodys(whole, column)}) as theirs on theirs.source = r.source and theirs.part_of = r.{column}"
    )
    gone = count(con, "dropped_parts")
    con.execute(f"delete from {table} where rowid in (select row_number from dropped_parts)")
    con.execute(
        "insert into ops.suppressed_rows by name select $run_id as run_id, file_id, $entity as entity, "
        "false as was_refused, count(*) as rows_dropped, 0 as rows_stripped, $recorded_at as recorded_at "
        "from dropped_parts group by file_id",
        {"run_id": run.run_id, "entity": part, "recorded_at": run.recorded_at},
    )
    con.execute("drop table dropped_parts")
    return gone


def _recognised(key: PseudonymKey, whole: str, sent: str) -> str:
    hashed = suppressed_hash(key, literal(whole), "source", "part_of")
    return f"select source, part_of from {sent} where {hashed} in (select value_hmac from ({_known(whole, key)}))"


def _known(entity: str, key: PseudonymKey) -> str:
    return (
        "select value_hmac, erasure_id from identity.suppressions "
        f"where id_type = {literal(entity)} and key_id = {literal(key.key_id)}"
    )


def _somebodys(whole: str, column: str) -> str:
    entity = ENTITIES[whole]
    return " union all ".join(
        f"select t.source, t.{column} as part_of from {table} as t where not ({names_nobody('t')})"
        for table in (published_of(entity), candidate_of(entity))
    )

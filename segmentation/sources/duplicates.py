"""Rows that say nothing new: the same source, key and content as a row loaded before.

Belongs here: finding and removing them from a draft. Does not belong here: changed rows, which are new rows
(readers take the highest ``(file_id, line)`` of a key). A row whose content returns to an earlier state counts as
repeated, because replays are common and true returns rare; a source that can return to an earlier state must
deliver ``updated_at``.

Cost: one aggregation of 64-bit key hashes over the draft, and one semi-join of its keys with the published ones where
there are any; contents are compared only for keys that occur more than once, and then exactly, where their hashes
agree.
"""

from dataclasses import dataclass

from segmentation.sources.entities import Entity
from segmentation.sources.tables import draft_of, published_of
from segmentation.warehouse import Connection, quote

_COLLIDING = "source_colliding_rows"
_REPEATED = "source_repeated_rows"
_ROWS = "source_compared_rows"


@dataclass(frozen=True, slots=True)
class Overlap:
    """Per file: rows that repeat an earlier row, and rows that change one."""

    duplicate: dict[int, int]
    changed: dict[int, int]


def drop_duplicates(con: Connection, entity: Entity) -> Overlap:
    """Remove from the entity's draft what was loaded before or stands earlier in the batch.

    "Earlier" is the order of ``(file_id, line)``.
    """
    draft = draft_of(entity)
    if not con.execute(f"select 1 from {draft} limit 1").fetchall():
        return Overlap({}, {})
    key = ("source", *entity.key)
    _find_colliding(con, entity, key)
    if not con.execute(f"select 1 from {_COLLIDING} limit 1").fetchall():
        con.execute(f"drop table {_COLLIDING}")
        return Overlap({}, {})
    _read_colliding(con, entity)
    _find_repeated(con, entity, key)
    duplicate = _count_by_file(con, f"select file_id from {_REPEATED}")
    if duplicate:
        con.execute(f"delete from {draft} where rowid in (select rid from {_REPEATED})")
    parts = ", ".join(map(quote, key))
    changed = _count_by_file(
        con,
        f"""
        select file_id from (
            select file_id, is_published, row_number() over (partition by {parts} order by file_id, line) as n
            from {_ROWS} where rid not in (select rid from {_REPEATED})
        ) where is_published or n > 1
        """,
    )
    con.execute(f"drop table {_COLLIDING}; drop table {_ROWS}; drop table {_REPEATED}")
    return Overlap(duplicate, changed)


def _find_colliding(con: Connection, entity: Entity, key: tuple[str, ...]) -> None:
    """List the draft's rows whose key occurs again in the draft, or is published."""
    draft, published = draft_of(entity), published_of(entity)
    hashed = f"hash({', '.join(map(quote, key))})"
    con.execute(
        f"""
        create or replace temp table {_COLLIDING} as
        select rowid as rid, file_id, false as is_published from {draft}
        where {hashed} in (select {hashed} from {draft} group by all having count(*) > 1)
        """
    )
    if not con.execute(f"select 1 from {published} limit 1").fetchall():
        return
    on = " and ".join(f"d.{quote(name)} = p.{quote(name)}" for name in key)
    con.execute(
        f"""
        create or replace temp table {_COLLIDING} as
        select rid, file_id, bool_or(is_published) as is_published from (
            from {_COLLIDING}
            union all
            select d.rowid, d.file_id, true from {draft} as d semi join {published} as p on {on}
        ) group by all
        """
    )


def _read_colliding(con: Connection, entity: Entity) -> None:
    """Lay the colliding rows aside with a hash of their content: they are gone through several times."""
    content = ", ".join(map(quote, ("source", *entity.column_names)))
    con.execute(
        f"""
        create or replace temp table {_ROWS} as
        select c.rid, c.is_published, d.file_id, d.line, hash({content}) as content_hash, {content}
        from {draft_of(entity)} as d join {_COLLIDING} as c on d.rowid = c.rid
        """
    )


def _find_repeated(con: Connection, entity: Entity, key: tuple[str, ...]) -> None:
    """List the rows whose content stands earlier in the draft, or is published; the hash only narrows the search."""
    content = ", ".join(map(quote, ("source", *entity.column_names)))
    same = " and ".join(
        [f"r.{quote(name)} = p.{quote(name)}" for name in key]
        + [f"r.{quote(name)} is not distinct from p.{quote(name)}" for name in entity.column_names]
    )
    con.execute(
        f"""
        create or replace temp table {_REPEATED} as
        select rid, file_id from (
            select rid, file_id, row_number() over (partition by {content} order by file_id, line) as n
            from {_ROWS}
            where content_hash in (select content_hash from {_ROWS} group by content_hash having count(*) > 1)
        ) where n > 1
        union
        select r.rid, r.file_id from {_ROWS} as r join {published_of(entity)} as p on {same} where r.is_published
        """
    )


def _count_by_file(con: Connection, sql: str) -> dict[int, int]:
    rows = con.execute(f"select file_id, count(*) from ({sql}) group by file_id").fetchall()
    return {int(file_id): int(count) for file_id, count in rows}

"""The tables of the stage that follow from the entities: published, draft and candidate.

Belongs here: creating and renaming them. Does not belong here: what is written into them (`staging.py`,
`candidate.py`, `publish.py`). Drafts are written file by file, outside one transaction, so that a damaged
file undoes itself alone; renaming them makes them the candidate at once.
"""

from segmentation.sources.entities import ENTITIES, PROVENANCE, Column, Entity
from segmentation.warehouse import Connection, quote

DRAFT_QUARANTINE = "sources.draft_quarantine"

_QUARANTINE_COLUMNS = """
    file_id bigint not null, entity varchar not null, source varchar not null, path varchar not null,
    line bigint not null, reason_code varchar not null, reason varchar not null, raw json not null,
    run_id varchar not null, recorded_at timestamp not null
"""


def all_columns(entity: Entity) -> tuple[str, ...]:
    """Names of an entity table's columns, in order: canonical, then provenance."""
    return (*entity.column_names, *(column.name for column in PROVENANCE))


def draft_of(entity: Entity) -> str:
    """Name of the table that the entity's new rows are written to first."""
    return f"sources.draft_{entity.name}"


def candidate_of(entity: Entity) -> str:
    """Name of the table that the gate judges."""
    return f"sources.candidate_{entity.name}"


def published_of(entity: Entity) -> str:
    """Name of the table that the next stages read."""
    return f"sources.{entity.name}"


def ensure_entity_tables(con: Connection) -> None:
    """Create the published table of every entity where it is missing, and add columns that the entity gained since."""
    present: dict[str, set[str]] = {}
    for table, column in con.execute(
        "select table_name, column_name from information_schema.columns where table_schema = 'sources'"
    ).fetchall():
        present.setdefault(str(table), set()).add(str(column))
    for entity in ENTITIES.values():
        if entity.name not in present:
            con.execute(f"create table {published_of(entity)} ({_column_list(entity)})")
            continue
        for column in entity.columns:
            if column.name not in present[entity.name]:
                con.execute(f"alter table {published_of(entity)} add column {quote(column.name)} {column.type}")


def create_drafts(con: Connection) -> None:
    """Create an empty draft for every entity and for the quarantine, in place of what a stopped run left."""
    for entity in ENTITIES.values():
        con.execute(f"create or replace table {draft_of(entity)} ({_column_list(entity)})")
    con.execute(f"create or replace table {DRAFT_QUARANTINE} ({_QUARANTINE_COLUMNS})")


def promote_drafts(con: Connection) -> None:
    """Make the drafts the candidate; call it in the transaction that stamps the candidate."""
    # After a first load the candidate is a view of the published table.
    kinds = dict(
        con.execute(
            "select table_name, table_type from information_schema.tables "
            "where table_schema = 'sources' and table_name like 'candidate_%'"
        ).fetchall()
    )
    for name in (*ENTITIES, "quarantine"):
        old = f"candidate_{name}"
        if old in kinds:
            con.execute(f"drop {'view' if kinds[old] == 'VIEW' else 'table'} sources.{old}")
        con.execute(f"alter table sources.draft_{name} rename to {old}")


def _column_list(entity: Entity) -> str:
    return ", ".join(
        f"{quote(column.name)} {column.type}{_storage_of(entity, column)}{' not null' if column.required else ''}"
        for column in (*entity.columns, *PROVENANCE)
    )


def _storage_of(entity: Entity, column: Column) -> str:
    # Every value of a key is another one: the engine's dictionaries cost twice as much and save nothing.
    return " using compression zstd" if entity.key == (column.name,) else ""

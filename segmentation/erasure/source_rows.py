"""What sources sent about the customer: rows that are theirs go, others lose the customer's identifiers.

Belongs here: the tables of schema ``sources``. Does not belong here: what was computed from them
(`derived_rows.py`). A row is the customer's when nobody else's better identifier speaks for it, as everywhere (R6):
an order that somebody else placed with the customer's telephone number stays, without the number.
"""

from segmentation.erasure.parts import names_nobody
from segmentation.erasure.subject import owner_expression
from segmentation.identity.catalog import IdentifierRules
from segmentation.identity.lookup import attribution
from segmentation.sources.entities import ENTITIES, IDENTITY_COLUMNS, PARTS, Entity
from segmentation.warehouse import Connection, count, quote

#: Tables that hold rows of an entity: published, and what a run proposed or was about to.
_STAGES = ("", "candidate_", "draft_")

#: A refused row is kept as text; a value shorter than this is looked for as a whole JSON string alone.
_FREE_TEXT = 6

_PUBLISHED_LOOKUP = "identity.identifier_lookup"


def forget_source_rows(con: Connection, rules: IdentifierRules) -> dict[str, int]:
    """Delete what sources sent about the customer in the temporary tables of `subject.gather`.

    Also writes temporary tables ``erased_files(file_id)``, the files that the rows had come from, and
    ``erased_parts(entity, source, part_of)``, the keys of theirs that other rows hang on.

    Returns:
        Rows deleted, rows that lost identifiers, and refused rows deleted.
    """
    con.execute("create or replace temp table erased_files (file_id bigint)")
    con.execute("create or replace temp table erased_parts (entity varchar, source varchar, part_of varchar)")
    tables = {
        row[0]
        for row in con.execute(
            "select table_name from duckdb_tables() where schema_name = 'sources' and not temporary"
        ).fetchall()
    }
    deleted = emptied = 0
    for entity in ENTITIES.values():
        if not set(IDENTITY_COLUMNS) <= set(entity.column_names):
            continue
        for stage in _STAGES:
            if f"{stage}{entity.name}" in tables:
                gone, changed = _forget_rows(con, rules, entity, f"{stage}{entity.name}")
                deleted, emptied = deleted + gone, emptied + changed
    for part, (whole, key) in PARTS.items():
        theirs = f"(source, {key}) in (select (source, part_of) from erased_parts where entity = '{whole}')"
        for stage in _STAGES:
            if f"{stage}{part}" in tables:
                deleted += _delete(con, f"sources.{stage}{part}", theirs)
            if f"{stage}{whole}" in tables:
                # A version of the row that names nobody.
                deleted += _delete(con, f"sources.{stage}{whole}", f"{theirs} and {names_nobody(f'{stage}{whole}')}")
    refused = sum(
        _forget_refused(con, f"sources.{stage}quarantine") for stage in _STAGES if f"{stage}quarantine" in tables
    )
    return {"rows_deleted": deleted, "rows_stripped": emptied, "quarantined_rows_deleted": refused}


def _forget_rows(con: Connection, rules: IdentifierRules, entity: Entity, table: str) -> tuple[int, int]:
    name = f"sources.{quote(table)}"
    owner = owner_expression(rules, "r.source")
    marks, joins = [], []
    for place, column in enumerate(IDENTITY_COLUMNS):
        namespace = owner if rules.identifiers[column].scope == "source" else "''"
        marks.append(f"e{place}.raw_value is not null as has_{column}")
        joins.append(
            f"left join (from erased_values where id_type = '{column}') as e{place} "
            f"on e{place}.raw_value = r.{column} and e{place}.id_namespace = {namespace}"
        )
    certain = " or ".join(f"coalesce(e{place}.is_certain, false)" for place in range(len(IDENTITY_COLUMNS)))
    con.execute(
        f"create or replace temp table erasure_hits as select r.rowid as row_number, r.source, r.file_id, "
        f"{', '.join(f'r.{column}' for column in IDENTITY_COLUMNS)}, {', '.join(marks)}, {certain} as is_certain "
        f"from {name} as r {' '.join(joins)} where "
        + " or ".join(f"e{place}.raw_value is not null" for place in range(len(IDENTITY_COLUMNS)))
    )
    con.execute("insert into erased_files select distinct file_id from erasure_hits")
    node, found = attribution(con, rules, "erasure_hits", lookup=_PUBLISHED_LOOKUP)
    con.execute(
        f"create or replace temp table attributed as select r.row_number, m.customer_id from erasure_hits as r {found} "
        f"join identity.identifier_map as m on m.node_id = {node}"
    )
    con.execute(
        "create or replace temp table erasure_theirs as select row_number from erasure_hits as h "
        "left join attributed as a using (row_number) "
        "where a.customer_id in (select customer_id from erased_customers) or (a.customer_id is null and h.is_certain)"
    )
    if entity.name in {whole for whole, _ in PARTS.values()}:
        con.execute(
            f"insert into erased_parts select distinct '{entity.name}', source, {entity.key[0]} from {name} "
            "where rowid in (select row_number from erasure_theirs)"
        )
    for column in IDENTITY_COLUMNS:
        _strip(con, name, column, entity)
    stripped = count(con, "erasure_hits") - count(con, "erasure_theirs")
    gone = _delete(con, name, "rowid in (select row_number from erasure_theirs)")
    con.execute("drop table erasure_hits; drop table erasure_theirs; drop table attributed")
    return gone, stripped


def _strip(con: Connection, name: str, column: str, entity: Entity) -> None:
    """Empty a column of the rows that stay; where it may not be empty, it holds the id that speaks for the row."""
    if any(known.name == column and known.required for known in entity.columns):
        return
    con.execute(
        f"update {name} set {column} = null where rowid in (select row_number from erasure_hits "
        f"where has_{column} and row_number not in (select row_number from erasure_theirs))"
    )


def _forget_refused(con: Connection, name: str) -> int:
    """Delete refused rows whose text has one of the customer's values, in whatever column."""
    text, value = "lower(cast(q.raw as varchar))", "lower(e.raw_value)"
    # Whole words alone: the number 500001 is not in 5000012.
    alone = f"concat('(^|[^[:alnum:]])', regexp_escape({value}), '([^[:alnum:]]|$)')"
    con.execute(
        "create or replace temp table erasure_refused as select distinct q.rowid as row_number, q.file_id "
        f"from {name} as q join erased_values as e on contains({text}, {value}) and regexp_matches({text}, {alone}) "
        f"and (length(e.raw_value) >= {_FREE_TEXT} or contains({text}, chr(34) || {value} || chr(34)))"
    )
    con.execute("insert into erased_files select distinct file_id from erasure_refused")
    gone = _delete(con, name, "rowid in (select row_number from erasure_refused)")
    con.execute("drop table erasure_refused")
    return gone


def _delete(con: Connection, table: str, condition: str) -> int:
    return int(con.execute(f"delete from {table} where {condition}").fetchall()[0][0])

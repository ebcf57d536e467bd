"""What was computed about the customer: identity, features, membership, marts, in whatever table.

Belongs here: every table of the warehouse but the sources'. Does not belong here: sync's own tables; they say what
destinations still hold, so they follow once the destinations have let go (`places.py`). Aggregates that were
published stay (sizes, costs, overlaps): they name nobody.
"""

from datetime import datetime

from segmentation.sources.entities import IDENTITY_COLUMNS
from segmentation.warehouse import Connection, literal, quote, scalar, table_exists

#: Schemas whose rows about a customer stay, or are dealt with by name.
_LEFT_ALONE = ("sources", "sync", "ops")

#: Tables that keep ids of ours as a tombstone, so that an id is never given again and what happened stays in order.
_TOMBSTONES = (("identity", "customers"), ("identity", "events"))

#: Columns that name a customer.
_CUSTOMER_COLUMNS = ("customer_id", "old_customer_id")

#: What stands in place of a value that was erased.
_BLANK = "'erased:' || node_id"
_REASON = literal("its customer was erased")


def forget_derived_rows(con: Connection, erasure_id: str, at: datetime) -> dict[str, int]:
    """Delete what was computed about the customer in the temporary tables of `subject.gather`.

    The customer's id stays as ``erased``, which is never revived, its identifiers as numbers without values.

    Returns:
        Rows deleted, by schema.
    """
    deleted: dict[str, int] = {}
    for schema, table, column in _customer_columns(con):
        condition = f"{quote(column)} in (select customer_id from erased_customers)"
        deleted[schema] = deleted.get(schema, 0) + _delete(con, schema, table, condition)
    for table, column in _node_columns(con):
        condition = f"{column} in (select node_id from erased_nodes)"
        deleted["identity"] = deleted.get("identity", 0) + _delete(con, "identity", table, condition)
    for schema, table, column in _value_columns(con):
        condition = (
            f"{quote(column)} in (select raw_value from erased_values where id_type = {literal(column)} and is_certain)"
        )
        deleted[schema] = deleted.get(schema, 0) + _delete(con, schema, table, condition)
    _leave_tombstones(con, erasure_id, at)
    # What the next run would compare with is no longer whole: it solves everything anew.
    con.execute("delete from identity.solve_inputs")
    return deleted


def _customer_columns(con: Connection) -> list[tuple[str, str, str]]:
    rows: list[tuple[str, str, str]] = con.execute(
        "select c.schema_name, c.table_name, c.column_name from duckdb_columns() as c join duckdb_tables() as t "
        "on t.schema_name = c.schema_name and t.table_name = c.table_name and t.database_name = c.database_name "
        "where c.database_name = current_database() and not t.temporary and c.column_name in ? "
        "and c.schema_name not in ? order by all",
        [list(_CUSTOMER_COLUMNS), list(_LEFT_ALONE)],
    ).fetchall()
    return [(schema, table, column) for schema, table, column in rows if not _is_tombstone(schema, table)]


def _value_columns(con: Connection) -> list[tuple[str, str, str]]:
    """Return tables between the stages that carry identifiers: somebody else's row may name the customer's device.

    The next run makes them anew from sources that no longer do.
    """
    rows: list[tuple[str, str, str]] = con.execute(
        "select c.schema_name, c.table_name, c.column_name from duckdb_columns() as c join duckdb_tables() as t "
        "on t.schema_name = c.schema_name and t.table_name = c.table_name and t.database_name = c.database_name "
        "where c.database_name = current_database() and not t.temporary and c.column_name in ? "
        "and c.schema_name not in ? order by all",
        [list(IDENTITY_COLUMNS), [*_LEFT_ALONE, "identity"]],
    ).fetchall()
    return rows


def _is_tombstone(schema: str, table: str) -> bool:
    return (schema, table.removeprefix("candidate_").removesuffix("_rows")) in _TOMBSTONES


def _node_columns(con: Connection) -> list[tuple[str, str]]:
    """Return tables of identity whose rows belong to single identifiers, and the column that says which."""
    rows: list[tuple[str, str]] = con.execute(
        "select c.table_name, c.column_name from duckdb_columns() as c join duckdb_tables() as t "
        "on t.schema_name = c.schema_name and t.table_name = c.table_name and t.database_name = c.database_name "
        "where c.database_name = current_database() and not t.temporary and c.schema_name = 'identity' "
        "and c.column_name in ('node_id', 'node_a', 'node_b') order by all"
    ).fetchall()
    kept = {"registry", "identifiers", *(f"candidate_identifiers{part}" for part in ("", "_rows", "_gone"))}
    return [(table, column) for table, column in rows if table not in kept]


def _leave_tombstones(con: Connection, erasure_id: str, at: datetime) -> None:
    erased = "node_id in (select node_id from erased_nodes)"
    con.execute(f"update identity.registry set id_value = {_BLANK}, is_raw = false where {erased}")
    status = (
        f"set id_value = {_BLANK}, status = 'erased', status_rule = 'erasure', status_reason = {_REASON}, "
        f"is_verified = false where {erased}"
    )
    customers = (
        "set status = 'erased', merged_into = null, n_nodes = 0 "
        "where customer_id in (select customer_id from erased_customers)"
    )
    for table, change in (("identifiers", status), ("customers", customers)):
        con.execute(f"update identity.{table} {change}")
        for candidate in (f"candidate_{table}", f"candidate_{table}_rows"):
            if _is_table(con, candidate):
                con.execute(f"update identity.{candidate} {change}")
    seq = int(str(scalar(con, "select coalesce(max(seq), 0) from identity.events")))
    con.execute(
        "insert into identity.events by name select $seq + row_number() over (order by customer_id) as seq, "
        "'erase' as event, customer_id, null as other_customer_id, "
        "(select count(*) from erased_nodes) as n_nodes, 'erasure' as cause_rule, $at as effective_at, "
        "$run_id as run_id, $at as recorded_at from erased_customers",
        {"seq": seq, "at": at, "run_id": erasure_id},
    )


def _is_table(con: Connection, table: str) -> bool:
    """Say whether a candidate is rows of its own; after publishing it is a view of what was published."""
    return table_exists(con, "identity", table) and bool(
        con.execute(
            "select 1 from duckdb_tables() where schema_name = 'identity' and table_name = ? and not temporary", [table]
        ).fetchall()
    )


def _delete(con: Connection, schema: str, table: str, condition: str) -> int:
    gone = con.execute(f"delete from {quote(schema)}.{quote(table)} where {condition}").fetchall()
    return int(gone[0][0])

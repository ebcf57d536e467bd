"""Copies of the state database in the warehouse: one to compare with, the others for analysts.

Belongs here: keeping ``sync.desired`` equal to the state, and copying the small tables. Does not belong here:
deciding anything. The two databases can't commit together, so the copy names the head it is a copy of; after
a crash between the two commits the names differ and the copy is made anew from the state, which is right.
"""

import pyarrow as pa
from sqlalchemy import Table, select

from segmentation.sync.engine import read_many
from segmentation.sync.state import State
from segmentation.sync.tables import DEAD_LETTERS, DESIRED, DESTINATIONS, RECEIPTS, RECONCILIATIONS, RUNS, VIEWS
from segmentation.warehouse import Connection, quote

#: The state's tables that the warehouse shows as they are.
MIRRORED: tuple[Table, ...] = (VIEWS, DESTINATIONS, RUNS, RECEIPTS, RECONCILIATIONS, DEAD_LETTERS)


def refresh_desired(con: Connection, state: State, view_id: str) -> bool:
    """Make ``sync.desired`` a copy of the state for one view if it is not; return whether it had to be."""
    head = state.head(view_id)
    known = con.execute("select head_seq, head_ref from sync.desired_heads where view_id = ?", [view_id]).fetchall()
    if known == [(head.seq, head.ref)]:
        return False
    con.execute("delete from sync.desired where view_id = ?", [view_id])
    wanted = select(DESIRED.c.customer_id, DESIRED.c.value, DESIRED.c.version).where(DESIRED.c.view_id == view_id)
    with state.reading() as connection:
        for part in read_many(connection, wanted, 100_000):
            customers, values, versions = zip(*part, strict=True)
            views = pa.repeat(view_id, len(customers))
            columns = {"view_id": views, "customer_id": customers, "value": values, "version": versions}
            _insert(con, "desired", pa.table(columns))
    note_head(con, view_id, head.seq, head.ref)
    return True


def note_head(con: Connection, view_id: str, seq: int, ref: str) -> None:
    """Note which head ``sync.desired`` is a copy of."""
    con.execute("insert or replace into sync.desired_heads values (?, ?, ?)", [view_id, seq, ref])


def forget_desired(con: Connection, keep: list[str]) -> None:
    """Delete the copies of views that nothing reads any more."""
    for table in ("desired", "desired_heads"):
        con.execute(f"delete from sync.{table} where view_id not in (select unnest($keep::varchar[]))", {"keep": keep})


def copy_ledger(con: Connection, state: State) -> None:
    """Copy the state's small tables into the warehouse, in one transaction of the caller."""
    for table in MIRRORED:
        with state.reading() as connection:
            rows = [tuple(row) for row in connection.execute(select(table))]
        con.execute(f"delete from sync.{quote(table.name)}")
        if rows:
            columns = [column.name for column in table.columns]
            _insert(con, table.name, pa.table(dict(zip(columns, zip(*rows, strict=True), strict=True))))


def _insert(con: Connection, table: str, rows: pa.Table) -> None:
    columns = ", ".join(quote(name) for name in rows.column_names)
    con.register("sync_state_rows", rows)
    try:
        con.execute(f"insert into sync.{quote(table)} ({columns}) select {columns} from sync_state_rows")
    finally:
        con.unregister("sync_state_rows")

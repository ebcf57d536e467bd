"""Which row of a key is the current one: sources append changed rows, readers take the highest.

Belongs here: finding rows that a later row of the same key replaced. Does not belong here: identifiers,
which every row goes on witnessing (`observations.py`).
"""

from segmentation.run import Run
from segmentation.warehouse import Connection


def superseded_rows(con: Connection, run: Run, table: str, key: str, moment: str) -> str:
    """Write temporary table ``superseded_<table>(row_number)`` and return the condition that leaves them out.

    Few keys have more than one row, so only rows whose key's hash occurs twice are compared, exactly.

    Args:
        con: The warehouse.
        run: Rows after its ``as_of`` replace nothing.
        table: An entity's table in schema ``sources``.
        key: The entity's key within a source.
        moment: The entity's event time.
    """
    name = f"superseded_{table}"
    con.execute(
        f"create or replace temp table {name} as with hashed as ("
        f"select rowid as row_number, hash(source, {key}) as key_hash from sources.{table} where {moment} <= $as_of), "
        "crowded as (select key_hash from hashed group by key_hash having count(*) > 1) "
        "select row_number from (select t.rowid as row_number, row_number() over "
        f"(partition by t.source, t.{key} order by t.file_id desc, t.line desc) as position from sources.{table} as t "
        "where t.rowid in (select row_number from hashed semi join crowded using (key_hash))) where position > 1",
        {"as_of": run.as_of},
    )
    return f"rowid not in (select row_number from {name})"

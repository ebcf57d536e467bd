"""A candidate table as the difference from the published one: rows that come, and keys whose old rows go.

Belongs here: proposing a difference so that everybody reads the whole, and applying it. Does not belong here: which
rows differ (`incremental.py`), or the other steps of publishing (`publish.py`).

Where most of a table stays, writing and renaming all of it costs far more than what changed. Rows that stay keep the
stamps of the run that wrote them.

Rows that went leave holes behind, which scans step over. A table with too many is written whole again.
"""

from segmentation.identity.tables import DIFFERENTIAL, definitions, relations
from segmentation.warehouse import Connection, count

#: Holes that a table may have: a share of its rows, and, as nobody minds them in a small one, the rows of a row group.
_MOST_HOLES, _LEAST_HOLES = 0.25, 122_880


def propose_difference(con: Connection, table: str, gone: str) -> None:
    """Make ``identity.candidate_<table>``, filled with the rows that come, a view of the whole.

    Where publishing would leave too many holes, it becomes a table of the whole instead.

    Args:
        con: The warehouse, in the transaction that builds the candidate.
        table: One of `tables.DIFFERENTIAL`.
        gone: Query for the keys whose published rows go; where such a key has rows that stay, they come as well.
    """
    candidate, key = f"candidate_{table}", DIFFERENTIAL[table]
    con.execute(f"alter table identity.{candidate} rename to {candidate}_rows")
    con.execute(f"create table identity.{candidate}_gone as select distinct {key} from ({gone})")
    con.execute(
        f"create view identity.{candidate} as select * from identity.{table} "
        f"anti join identity.{candidate}_gone using ({key}) union all by name select * from identity.{candidate}_rows"
    )
    if _has_too_many_holes(con, table):
        _write_whole(con, table)


def _has_too_many_holes(con: Connection, table: str) -> bool:
    """Say whether a table would have them once its proposed difference is applied."""
    # Row ids number a table's rows and holes.
    [(rows, places)] = con.execute(f"select count(*), coalesce(max(rowid) + 1, 0) from identity.{table}").fetchall()
    going = count(con, f"identity.{table} semi join identity.candidate_{table}_gone using ({DIFFERENTIAL[table]})")
    holes = places - rows + going
    return bool(holes > max(_LEAST_HOLES, _MOST_HOLES * rows))


def _write_whole(con: Connection, table: str) -> None:
    candidate = f"candidate_{table}"
    con.execute(f"create table identity.{candidate}_whole ({definitions()[table]}\n)")
    con.execute(f"insert into identity.{candidate}_whole by name select * from identity.{candidate}")
    con.execute(
        f"drop view identity.{candidate}; drop table identity.{candidate}_rows; drop table identity.{candidate}_gone; "
        f"alter table identity.{candidate}_whole rename to {candidate}"
    )


def is_difference(con: Connection, table: str) -> bool:
    """Say whether the candidate of a table is a difference that has not been applied."""
    return f"candidate_{table}_rows" in relations(con, "identity")


def find_arrivals(con: Connection) -> tuple[str, str]:
    """Return where identifiers with a new place stand, and the condition for which identifiers that is known."""
    candidate = "identity.candidate_identifier_map"
    if is_difference(con, "identifier_map"):
        # The others are in what is published, so each has its spell open.
        return f"{candidate}_rows", f"node_id in (select node_id from {candidate}_gone)"
    return candidate, "true"


def apply_difference(con: Connection, table: str) -> None:
    """Publish a proposed difference, in the caller's transaction; the candidate stays readable as what is published."""
    candidate, key = f"candidate_{table}", DIFFERENTIAL[table]
    con.execute(f"delete from identity.{table} where {key} in (select {key} from identity.{candidate}_gone)")
    con.execute(f"insert into identity.{table} by name select * from identity.{candidate}_rows")
    con.execute(f"drop view identity.{candidate}")
    con.execute(f"drop table identity.{candidate}_rows; drop table identity.{candidate}_gone")
    con.execute(f"create view identity.{candidate} as select * from identity.{table}")

"""A candidate table as the difference from the published one: rows that come, and keys whose old rows go.

Belongs here: proposing a difference so that everybody reads the whole, and applying it. Does not belong here: which
rows differ (`incremental.py`), or the other steps of publishing (`publish.py`).

Where most of a table stays, writing and renaming all of it costs far more than what changed. Rows that stay keep the
stamps of the run that wrote them.
"""

from segmentation.identity.tables import DIFFERENTIAL, relations
from segmentation.warehouse import Connection


def propose_difference(con: Connection, table: str, gone: str) -> None:
    """Make ``identity.candidate_<table>``, filled with the rows that come, a view of the whole.

    Args:
        con: The warehouse, in the transaction that builds the candidate.
        table: One of `tables.DIFFERENTIAL`.
        gone: Query for the keys whose published rows go.
    """
    candidate, key = f"candidate_{table}", DIFFERENTIAL[table]
    con.execute(f"alter table identity.{candidate} rename to {candidate}_rows")
    con.execute(f"create table identity.{candidate}_gone as select distinct {key} from ({gone})")
    con.execute(
        f"create view identity.{candidate} as select * from identity.{table} "
        f"anti join identity.{candidate}_gone using ({key}) union all by name select * from identity.{candidate}_rows"
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

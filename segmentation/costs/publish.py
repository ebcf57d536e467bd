"""Publishing costs: what the gate judged becomes what others read.

Belongs here: the one transaction of it. Does not belong here: making the candidate (`candidate.py`).
"""

from segmentation import contracts
from segmentation.costs.candidate import TABLES
from segmentation.run import Run, StageReport
from segmentation.warehouse import Connection, count, swap_table, transaction


def publish(con: Connection, run: Run) -> StageReport:
    """Put this run's candidate tables in place of the published ones, all or none.

    Publishing the same candidate again changes nothing.

    Raises:
        CandidateError: The newest candidate is another run's.
    """
    with transaction(con):
        candidate_id = contracts.mark_published(con, "costs", run)
        for table in TABLES:
            if _is_waiting(con, table):
                swap_table(con, "costs", f"candidate_{table}", table)
    return StageReport(candidate_id, {table: count(con, f"costs.{table}") for table in TABLES}, {})


def _is_waiting(con: Connection, table: str) -> bool:
    """Say whether a candidate is a table still; once published, a view of that name shows what was judged."""
    return bool(
        con.execute(
            "select 1 from information_schema.tables "
            "where table_schema = 'costs' and table_name = ? and table_type = 'BASE TABLE'",
            [f"candidate_{table}"],
        ).fetchall()
    )
